"""`darkit-nb bench` as a terminal sees it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from darkit_nb.cli import bench as command
from darkit_nb.cli.app import run


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of its own with two small benchmarks and the real runner."""
    folder = tmp_path / "toybench"
    folder.mkdir()
    ours = command.IN_CHECKOUT
    for name in ("__init__", "__main__", "harness"):
        (folder / f"{name}.py").write_text((ours / f"{name}.py").read_text())
    (folder / "fast.py").write_text("def run(quick):\n    yield {'operation': 'fast', 'quick': quick}\n")
    (folder / "card.py").write_text("DEVICE = 'cuda'\ndef run(quick):\n    yield {'operation': 'card'}\n")
    (folder / "broken.py").write_text("import no_such_package\n")  # no benchmark: it is not even imported
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(command, "_runner", lambda: (__import__("toybench.__main__").__main__, folder / "results"))
    return folder


def test_rows_are_printed_and_appended(toy: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["bench"]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[0])
    (row,) = (json.loads(line) for line in (toy / "results" / "fast.jsonl").read_text().splitlines())
    assert row == printed
    assert row["operation"] == "fast"
    assert not (toy / "results" / "card.jsonl").exists()
    assert run(["bench", "--device", "cuda", "--out", str(toy / "elsewhere")]) == 0
    assert (toy / "elsewhere" / "card.jsonl").is_file()


def test_quick_records_nothing(toy: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["bench", "fast", "--quick"]) == 0
    assert '"quick": true' in capsys.readouterr().out
    assert not (toy / "results").exists()


def test_an_unknown_name_is_told_which_there_are(toy: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["bench", "slow"]) == 2
    assert "no benchmark called slow; there are card, fast" in capsys.readouterr().err


def test_an_installation_without_them_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path, capsys):
    monkeypatch.setattr(command, "IN_WHEEL", tmp_path / "a")
    monkeypatch.setattr(command, "IN_CHECKOUT", tmp_path / "b")
    assert run(["bench"]) == 2
    assert "carries no benchmarks" in capsys.readouterr().err
