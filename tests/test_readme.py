"""The README is true: its code runs, its figures are those of the recorded rows, its files and commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import report
from darkit_nb.cli.app import make_app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_ten_lines_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert 'overrides=["train.steps=200"' in code
    short = '"train.batch_size=2", "train.num_threads=1", "evaluation.windows=2", "train.steps=2"'
    monkeypatch.chdir(tmp_path)
    exec(compile(code.replace('"train.steps=200"', short), "README.md", "exec"), {})  # noqa: S102 - our own text
    assert list((tmp_path / "runs").glob("*/checkpoints/step-00000002"))
    assert capsys.readouterr().out.strip()


def test_every_figure_is_that_of_its_row():
    block = README.partition(report.BEGIN)[2].partition(report.END)[0].strip()
    assert block == report.figures()
    outside = README.replace(block, "")
    assert not re.search(r"\d\s*(tokens/s|bits per byte|MB)", outside)


def test_linked_files_exist():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_named_commands_exist():
    named = set(re.findall(r"^darkit-nb (\w+)", README, re.MULTILINE))
    assert named
    assert [name for name in sorted(named) if name not in set(make_app())] == []
