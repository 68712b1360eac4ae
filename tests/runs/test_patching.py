"""Sending an edit to a run: the file is there before the command, and nobody waits for ever."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from darkit_nb.config import RunConfig
from darkit_nb.errors import RunError
from darkit_nb.records.patch import Patch
from darkit_nb.runs import PatchRefusedError, Run, RunDirectory
from darkit_nb.runs.control import CommandReader, acknowledge

BASE = "class A:\n    x = 1\n"
PATCH = Patch(kind="code", targets=("a",), module="m", class_name="A", base=BASE, source=BASE.replace("1", "2"))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    directory = RunDirectory.create(RunConfig(runs_dir=str(tmp_path / "runs")), command="x")
    directory.begin_attempt()
    return Run(directory)


def test_the_file_is_there_when_the_command_arrives(run: Run):
    sent = run.patch(PATCH, wait_s=0, trial_steps=3)
    assert (sent.number, sent.state, sent.id) == (1, "waiting", PATCH.id)
    (command,) = CommandReader(run.directory, attempt=1).read()
    assert command.arguments["trial_steps"] == 3
    assert "@" in command.arguments["who"]
    assert Patch.from_json((run.root / "patches" / command.arguments["file"]).read_text()) == PATCH


def test_two_senders_never_share_a_number(run: Run):
    threads = [threading.Thread(target=run.patch, args=(PATCH,), kwargs={"wait_s": 0}) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.number for each in run.patches] == list(range(1, 9))


def test_the_notebook_gets_the_error_with_its_line(run: Run):
    def trainer() -> None:
        reader = CommandReader(run.directory, attempt=1)
        while not (found := reader.read()):
            time.sleep(0.01)
        problem = RunError("line 2: the name 'tanh' is not known.", fix="torch.tanh")
        problems = [{"check": "names", "line": 2}]
        acknowledge(run.directory, found[0], step=4, error=problem, number=1, problems=problems)

    thread = threading.Thread(target=trainer)
    thread.start()
    with pytest.raises(PatchRefusedError, match=r"line 2.*tanh") as caught:
        run.patch(PATCH, wait_s=20)
    thread.join()
    assert caught.value.problems[0]["line"] == 2
    assert caught.value.fix == "torch.tanh"
    assert run.patches[0].state == "refused"


def test_a_run_that_does_not_train_has_no_live_model(run: Run):
    run.directory.write_status(state="stopped")
    for act in (lambda: run.patch(PATCH), run.revert):
        with pytest.raises(RunError, match="no live model") as caught:
            act()
        assert "resume" in str(caught.value.fix)
    assert not (run.root / "patches").exists()


def test_whoever_waits_learns_that_the_training_ended(run: Run):
    stop = threading.Timer(0.3, lambda: run.directory.write_status(state="stopped"))
    stop.start()
    with pytest.raises(RunError, match="ended before the patch"):
        run.patch(PATCH, wait_s=20)
    stop.join()
    assert run.patches[0].state == "dropped"


def test_a_dry_run_is_none_of_the_runs_patches(run: Run):
    with pytest.raises(RunError, match="nothing about the dry run") as caught:
        run.patch(PATCH, wait_s=0.2, dry_run=True)
    assert caught.value.fix == "ask again with a longer wait_s"
    (command,) = CommandReader(run.directory, attempt=1).read()
    assert Patch.from_dict(command.arguments["patch"]) == PATCH
    assert not (run.root / "patches").exists()
    run.directory.write_status(state="stopped")
    with pytest.raises(RunError, match="no live model"):
        run.patch(PATCH, dry_run=True)


def test_waiting_has_an_end_and_says_that_it_may_still_come(run: Run):
    with pytest.raises(RunError, match=r"in 0\.2 seconds"):
        run.patch(PATCH, wait_s=0.2)
    assert run.patches[0].state == "waiting"


def test_only_what_is_there_can_be_taken_back(run: Run):
    with pytest.raises(RunError, match="has 0 edits"):
        run.revert(wait_s=0)
    run.patch(PATCH, wait_s=0)
    with pytest.raises(RunError, match="has 1 edit "):
        run.revert(2, wait_s=0)
    run.revert(wait_s=0)
    assert [each.command for each in CommandReader(run.directory, attempt=1).read()] == ["patch", "revert"]
