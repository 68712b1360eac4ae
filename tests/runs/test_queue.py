"""Who waits, in which order, and how many at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from darkit_nb.config import RunConfig
from darkit_nb.errors import ConfigError, RunError
from darkit_nb.runs import RunDirectory, RunMonitor, open_run, queue
from darkit_nb.runs.queue import advance_queue, dequeue, enqueue, queued_runs, read_slots, set_slots
from darkit_nb.runs.summary import summarize

UNSTARTABLE = "train: {stepz: 3}\n"


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def make(runs_dir: Path, name: str, **changes) -> RunDirectory:
    return RunDirectory.create(RunConfig(runs_dir=str(runs_dir), name=name).replace(changes), command="x")


@pytest.fixture
def busy(runs_dir: Path) -> RunDirectory:
    """A run that this process trains."""
    run = make(runs_dir, "busy", **{"train.device": "cpu"})
    run.begin_attempt()
    return run


def test_runs_wait_in_the_order_they_came(runs_dir: Path, busy: RunDirectory) -> None:
    runs = [make(runs_dir, name) for name in ("c", "a", "b")]
    for run in runs:
        enqueue(run)
    assert queued_runs(runs_dir) == runs
    assert {run.read_status().state for run in runs} == {"queued"}
    assert advance_queue(runs_dir) == []
    assert dequeue(runs[0])
    assert not dequeue(runs[0])
    assert queued_runs(runs_dir) == runs[1:]


def test_a_run_that_waits_knows_its_place(runs_dir: Path, busy: RunDirectory) -> None:
    runs = [make(runs_dir, name) for name in ("c", "a", "b")]
    for run in runs:
        enqueue(run)
    assert [run.read_status().place for run in (busy, *runs)] == [None, 1, 2, 3]
    assert [summarize(run.root).place for run in runs] == [1, 2, 3]
    assert open_run(runs[1].root).__repr__().endswith("queued (place 2)")
    dequeue(runs[0])
    assert [run.read_status().place for run in runs] == [None, 1, 2]


def test_whoever_watches_is_told_when_a_place_changes(runs_dir: Path, busy: RunDirectory) -> None:
    runs = [make(runs_dir, name) for name in ("first", "second")]
    for run in runs:
        enqueue(run)
    places, rows = list[int | None](), list[dict[str, int | None]]()
    monitor = RunMonitor()
    ends = [
        monitor.watch(runs[1], lambda change: places.append(change.status.place)),
        monitor.watch_folder(runs_dir, lambda found: rows.append({row.name: row.place for row in found})),
    ]
    try:
        until(lambda: bool(places and rows))
        dequeue(runs[0])
        until(lambda: places[-1] == 1 and rows[-1]["second"] == 1)
    finally:
        for end in ends:
            end()
    assert places[0] == 2
    assert rows[0] == {"busy": None, "first": 1, "second": 2}


def until(holds: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_run_at_work_is_not_queued(runs_dir: Path, busy: RunDirectory) -> None:
    with pytest.raises(RunError, match="is running already"):
        enqueue(busy)


def test_slots_are_kept_and_checked(runs_dir: Path, busy: RunDirectory) -> None:
    assert read_slots(runs_dir) == 1
    for slots in (3, "fit"):
        set_slots(runs_dir, slots)
        assert read_slots(runs_dir) == slots
    for wrong in (0, 65, True, "many", 1.5, None):
        with pytest.raises(ConfigError, match="no number of runs"):
            set_slots(runs_dir, wrong)  # pyright: ignore[reportArgumentType]
    assert read_slots(runs_dir) == "fit"
    (runs_dir / ".queue.json").write_text('{"slots": "rm -rf"}')
    assert read_slots(runs_dir) == 1


def test_fit_counts_what_runs_will_take(runs_dir: Path, busy: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"train.device": "cpu", "train.batch_size": 16}
    small = make(runs_dir, "small", **config)
    needed = queue._needed_bytes(small)
    assert needed is not None
    states = [(busy, busy.read_status())]
    assert queue._has_place(small, [], "fit"), "alone it may try"
    monkeypatch.setattr(queue, "available_memory", lambda: 10 * needed)
    assert queue._has_place(small, states, "fit")
    monkeypatch.setattr(queue, "available_memory", lambda: needed)
    assert not queue._has_place(small, states, "fit")
    unknown = make(runs_dir, "unknown", **{"model.path": "some/hub-id", "train.device": "cpu"})
    monkeypatch.setattr(queue, "available_memory", lambda: 10**15)
    assert not queue._has_place(unknown, states, "fit"), "whose size nobody knows"


def test_one_that_cannot_start_fails_and_the_next_has_its_turn(runs_dir: Path, busy: RunDirectory) -> None:
    broken, fine = make(runs_dir, "broken"), make(runs_dir, "fine")
    for run in (broken, fine):
        enqueue(run)
    broken.log_path.mkdir()  # no log, no process
    fine.config_path.write_text(UNSTARTABLE)
    busy.write_status(state="finished")
    assert advance_queue(runs_dir) == [fine]
    status = broken.read_status()
    assert status.state == "failed"
    assert status.problem is not None
    assert "cannot be written" in status.problem["message"]
    assert fine.read_status().state in ("starting", "failed")
    assert queued_runs(runs_dir) == []
