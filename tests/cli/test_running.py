"""Commands that drive trainings in the background."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path

import pytest

from darkit_nb.cli.app import run
from darkit_nb.config import RunConfig
from darkit_nb.errors import RunError
from darkit_nb.runs import Run, RunDirectory, list_runs
from darkit_nb.runs.control import CommandReader

GATE = """
import pathlib, time
while not pathlib.Path("go").exists():
    time.sleep(0.02)
import no_such_module_anywhere
"""

SECONDS = 400.0  # a machine may be many times slower than usual


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def busy() -> RunDirectory:
    """A run that this process trains."""
    directory = RunDirectory.create(RunConfig(name="busy"), command="x")
    directory.begin_attempt()
    return directory


def test_detached_training_is_not_waited_for_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gate.py").write_text(GATE)
    assert run(["train", "name=far", "plugins=[gate]", "--detach"]) == 0
    (found,) = list_runs("runs")
    assert capsys.readouterr().out.strip() == f"starting: {found.root.resolve()}"
    (tmp_path / "go").touch()
    with pytest.raises(RunError, match="no_such_module_anywhere"):
        Run(found).wait(SECONDS)
    while Run(found).status.active:
        time.sleep(0.05)
    assert run(["resume", "far", "--detach"]) == 0
    assert Run(found).status.attempt in (1, 2)
    with pytest.raises(RunError, match="no_such_module_anywhere"):
        Run(found).wait(SECONDS)
    assert Run(found).status.attempt == 2


def test_queued_training_waits_and_can_be_taken_out(busy: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "name=next", "--queue"]) == 0
    assert capsys.readouterr().out.startswith("queued: ")
    assert run(["runs", "queue"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == "1 at once, 1 waiting"
    assert second.split()[0] == "1"
    assert second.endswith(list_runs("runs")[-1].id)
    assert run(["stop", "next"]) == 0
    assert capsys.readouterr().out.startswith("created: ")
    assert run(["stop", "next"]) == 0
    assert "there is nothing to stop" in capsys.readouterr().out
    assert run(["runs", "queue", "--slots", "fit"]) == 0
    assert capsys.readouterr().out == "fit at once, 0 waiting\n"
    assert run(["runs", "queue", "--slots", "none"]) == 2


def test_runs_list_and_show_tell_the_place_of_one_that_waits(
    busy: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        assert run(["train", f"name={name}", "--queue"]) == 0
    capsys.readouterr()
    assert run(["runs", "list"]) == 0
    rows = [re.split(r" {2,}", row) for row in capsys.readouterr().out.splitlines()[1:]]
    states = {row[0].split("-")[2]: row[1] for row in rows}
    assert states == {"busy": "running", "a": "queued, place 1", "b": "queued, place 2"}
    assert run(["runs", "show", "b"]) == 0
    assert "queued, place 2" in capsys.readouterr().out


def test_delete_asks_and_takes_only_what_is_not_at_work(
    busy: RunDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = RunDirectory.create(RunConfig(name="done"), command="x")
    assert run(["runs", "delete", "busy", "--yes"]) == 2
    assert "is running already" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert run(["runs", "delete", "done"]) == 2  # nobody sits there
    assert f"darkit-nb runs delete {done.id} --yes" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert run(["runs", "delete", "done"]) == 1
    assert done.root.is_dir()
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert run(["runs", "delete", "done"]) == 0
    assert not done.root.exists()
    other = RunDirectory.create(RunConfig(name="other"), command="x")
    capsys.readouterr()
    assert run(["runs", "delete", "other", "--yes"]) == 0
    assert capsys.readouterr().out == f"deleted: {other.root.resolve()}\n"
    assert list_runs("runs") == [busy]


class Terminal(io.StringIO):
    """What somebody types."""

    def isatty(self) -> bool:
        return True


def test_stop_asks_the_trainer(busy: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["stop", "busy", "--wait", "0"]) == 0
    assert [command.command for command in CommandReader(busy, attempt=1).read()] == ["stop"]
    assert capsys.readouterr().out.startswith("running: ")


def test_compare_prints_runs_side_by_side(busy: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    RunDirectory.create(RunConfig(name="other", seed=7), command="x")
    assert run(["runs", "compare", "busy", "other"]) == 0
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()[1:]}
    assert (rows["seed"], rows["state"]) == (["0", "7"], ["running", "created"])
    assert run(["runs", "compare"]) == 2


def test_end_is_for_orphans_only(busy: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["runs", "end", "busy"]) == 0
    assert "no process of it has lost its supervisor" in capsys.readouterr().out
