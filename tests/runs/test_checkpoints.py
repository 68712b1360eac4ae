"""A checkpoint is there whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from darkit_nb.config import RunConfig
from darkit_nb.errors import RunError
from darkit_nb.runs import RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(RunConfig(runs_dir=str(tmp_path / "runs")), command="test")


def save(run: RunDirectory, step: int, text: str = "weights") -> None:
    with run.new_checkpoint(step) as folder:
        (folder / "model.safetensors").write_text(text)
        (folder / "sub").mkdir(exist_ok=True)
        (folder / "sub" / "state.json").write_text("{}")


def steps(run: RunDirectory) -> list[int]:
    return [checkpoint.step for checkpoint in run.checkpoints()]


def test_checkpoints_are_listed_by_step(run: RunDirectory) -> None:
    assert run.latest_checkpoint() is None
    for step in (200, 100, 1000):
        save(run, step)
    assert steps(run) == [100, 200, 1000]
    latest = run.latest_checkpoint()
    assert latest is not None
    assert latest.path == run.checkpoints_path / "step-00001000"


def test_an_unfinished_checkpoint_does_not_exist(run: RunDirectory) -> None:
    save(run, 1)

    def fail() -> None:
        with run.new_checkpoint(2) as folder:
            (folder / "model.safetensors").write_text("half")
            assert steps(run) == [1]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert steps(run) == [1]
    assert [path.name for path in run.checkpoints_path.iterdir()] == ["step-00000001"]


@pytest.mark.parametrize("damage", ["cut", "gone", "unsealed", "bad seal", "odd seal"])
def test_a_damaged_checkpoint_is_passed_over(run: RunDirectory, damage: str) -> None:
    save(run, 1)
    save(run, 2)
    newest = run.checkpoints_path / "step-00000002"
    if damage == "cut":
        (newest / "model.safetensors").write_text("w")
    elif damage == "gone":
        (newest / "sub" / "state.json").unlink()
    elif damage == "unsealed":
        (newest / "complete.json").unlink()
    else:
        (newest / "complete.json").write_text("{" if damage == "bad seal" else '{"files": 3}')
    assert steps(run) == [1]
    run.begin_attempt()
    assert not newest.exists(), "the next attempt clears it away"


def test_a_step_saved_again_is_replaced(run: RunDirectory) -> None:
    save(run, 5, "old")
    save(run, 5, "new")
    (checkpoint,) = run.checkpoints()
    assert (checkpoint.path / "model.safetensors").read_text() == "new"
    assert len(list(run.checkpoints_path.iterdir())) == 1


def test_a_kill_between_the_two_renames_loses_nothing(run: RunDirectory) -> None:
    save(run, 5, "old")
    (run.checkpoints_path / "step-00000005").rename(run.checkpoints_path / ".old-step-00000005")
    assert steps(run) == []
    run.begin_attempt()
    assert steps(run) == [5]


def test_pruning_keeps_the_newest(run: RunDirectory) -> None:
    for step in range(1, 6):
        save(run, step)
    assert [checkpoint.step for checkpoint in run.prune_checkpoints(2)] == [1, 2, 3]
    assert steps(run) == [4, 5]
    assert run.prune_checkpoints(9) == []
    with pytest.raises(RunError, match="At least one"):
        run.prune_checkpoints(0)


def test_other_ranks_write_into_the_same_folder_and_leave_the_seal_to_the_owner(run: RunDirectory) -> None:
    with run.new_checkpoint(3) as mine:
        with run.new_checkpoint(3, owner=False) as theirs:
            assert theirs == mine
            (theirs / "rng_state_1.json").write_text("{}")
        assert steps(run) == []
        (mine / "model.safetensors").write_text("w")
    (checkpoint,) = run.checkpoints()
    assert {path.name for path in checkpoint.path.iterdir()} == {
        "rng_state_1.json",
        "model.safetensors",
        "complete.json",
    }


SAVER = """
import sys
from darkit_nb.runs import RunDirectory
run = RunDirectory(sys.argv[1])
run.begin_attempt()
step = 0
while True:
    step += 1
    with run.new_checkpoint(step % 3) as folder:
        for part in range(5):
            (folder / f"part-{part}").write_bytes(step.to_bytes(4, "little") * 20_000)
    run.prune_checkpoints(2)
    print(step, flush=True)
"""


def test_kill_9_while_saving_leaves_only_whole_checkpoints(run: RunDirectory) -> None:
    for delay in range(5):
        process = subprocess.Popen([sys.executable, "-c", SAVER, str(run.root)], stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            for _ in range(4 + delay):
                assert process.stdout.readline()
        finally:
            process.kill()
            process.communicate()
        run.begin_attempt()
        found = run.checkpoints()
        assert found
        for checkpoint in found:
            contents = {path.read_bytes() for path in checkpoint.path.glob("part-*")}
            assert len(contents) == 1, "parts of two checkpoints were mixed"
        assert not [path for path in run.checkpoints_path.iterdir() if path.name.startswith(".")]
