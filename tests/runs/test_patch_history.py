"""What became of a run's edits, from its events alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from darkit_nb.config import RunConfig
from darkit_nb.records.patch import Patch
from darkit_nb.runs import RunDirectory
from darkit_nb.runs.patch_history import ScheduledAction, in_effect, read_patches, schedule
from darkit_nb.runs.patching import load_patch, store_patch


def edit(note: str = "") -> Patch:
    base = "class A:\n    pass\n"
    return Patch(kind="code", targets=("a",), module="m", class_name="A", base=base, source=base + f"# {note}\n")


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory.create(RunConfig(runs_dir=str(tmp_path / "runs")), command="x")
    run.begin_attempt()
    return run


def test_an_edit_waits_is_applied_and_taken_out(run: RunDirectory):
    assert store_patch(run, edit("one")) == 1
    assert store_patch(run, edit("two")) == 2
    assert [each.state for each in read_patches(run)] == ["waiting", "waiting"]
    run.append_event("patch", step=7, number=1, label="A in a", who="me@here")
    run.append_event("ack", command="patch", number=2, ok=False, step=7, problem={"message": "line 3: no"})
    one, two = read_patches(run)
    assert (one.state, one.step, one.label, one.who) == ("applied", 7, "A in a", "me@here")
    assert str(two).endswith("refused: line 3: no")
    run.append_event("revert", step=9, number=1, label="A in a", reason="asked")
    (one, _) = read_patches(run)
    assert (one.state, one.step, one.reverted_step) == ("reverted", 7, 9)
    assert load_patch(run, 2).source == edit("two").source


def test_what_waits_when_the_training_ends_is_dropped(run: RunDirectory):
    store_patch(run, edit())
    run.write_status(state="stopped")
    assert [each.state for each in read_patches(run)] == ["dropped"]


def test_other_files_are_no_patches(run: RunDirectory):
    run.patches_path.mkdir()
    for name in ("notes.txt", "0001-zzzzzzzzzzzz.json", "1-0123456789ab.json", ".0001-0123456789ab.json.12"):
        (run.patches_path / name).write_text("{}")
    assert read_patches(run) == ()
    assert store_patch(run, edit()) == 1


def test_the_schedule_is_the_way_to_the_weights():
    def event(kind: str, step: int, number: int = 0, **more: object) -> dict[str, object]:
        return {"kind": kind, "step": step, "number": number, **more}

    events = [
        event("patch", 3, 1),
        event("patch", 5, 2),
        event("revert", 5, 2, reason="failed"),
        event("patch", 8, 3),
        event("revert", 9, 3, reason="asked"),
        event("patch", 12, 4),
    ]
    done = schedule(events)
    assert [(each.step, each.action, each.number) for each in done] == [
        (3, "patch", 1),
        (8, "patch", 3),
        (9, "revert", 3),
        (12, "patch", 4),
    ]
    assert in_effect(done) == [1, 4]
    # Killed, and gone on with from the checkpoint of step 9, which was written before the third was taken out.
    again = [*events, event("patches", 9, in_effect=[1, 3]), event("patch", 9, 3, reason="resume")]
    assert in_effect(schedule(again)) == [1, 3]
    assert schedule(again)[-1] == ScheduledAction(8, "patch", 3)
