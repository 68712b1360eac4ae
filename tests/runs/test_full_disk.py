"""A full disk and a read-only disk: a clear message, and what was there is intact."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from darkit_nb.config import RunConfig
from darkit_nb.errors import RunError
from darkit_nb.runs import MetricsReader, Run, RunChange, RunDirectory, RunMonitor, RunSummary, train
from darkit_nb.runs.launcher import start_supervisor
from darkit_nb.runs.queue import set_slots
from tests.small_disk import fill, mount, small_disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    with small_disk(tmp_path / "disk") as folder:
        yield folder


def full(call: Callable[[], object]) -> None:
    with pytest.raises(RunError, match="The disk is full") as caught:
        call()
    assert "intact" in str(caught.value)
    assert "free some space" in str(caught.value.fix)


def test_a_full_disk_keeps_status_metrics_and_checkpoints(disk: Path) -> None:
    run = RunDirectory.create(RunConfig(runs_dir=str(disk / "runs")), command="x")
    run.begin_attempt()
    run.append_metrics({"kind": "train", "step": 1, "filler": "x" * 3000})
    with run.new_checkpoint(1) as folder:
        (folder / "model").write_bytes(b"x" * 100_000)
    run.write_status(step=1)
    fill(disk)

    full(lambda: run.write_status(step=2, filler="x" * 9000))
    full(lambda: run.append_metrics({"kind": "train", "step": 2, "filler": "x" * 9000}))
    with pytest.raises(RunError, match="The disk is full"), run.new_checkpoint(2) as folder:
        (folder / "model").write_bytes(b"x" * 900_000)

    status = run.read_status()
    assert (status.state, status.step) == ("running", 1)
    assert [record["step"] for record in run.read_metrics()] == [1]
    assert [checkpoint.step for checkpoint in run.checkpoints()] == [1]
    assert not list(run.root.glob(".status*")), "no drafts are left"

    (disk / "filler").unlink()
    run.append_metrics({"kind": "train", "step": 2})
    run.write_status(step=2)
    reader = MetricsReader(run.metrics_path)
    assert [record["step"] for record in reader.read()] == [1, 2]
    assert run.read_status().step == 2


def test_a_run_that_does_not_fit_leaves_nothing(disk: Path) -> None:
    (disk / "runs").mkdir()
    (disk / "runs" / ".lock").touch()
    fill(disk)
    full(lambda: RunDirectory.create(RunConfig(runs_dir=str(disk / "runs")), command="x" * 10_000))
    assert [path.name for path in (disk / "runs").iterdir()] == [".lock"]


def test_a_read_only_run_can_be_read_but_not_written(disk: Path) -> None:
    run = RunDirectory.create(RunConfig(runs_dir=str(disk / "runs")), command="x")
    run.append_metrics({"kind": "train", "step": 1})
    mount("-o", "remount,ro", str(disk))
    writers: list[Callable[[], object]] = [
        lambda: run.write_status(step=2),
        lambda: run.append_metrics({"kind": "train", "step": 2}),
        lambda: run.append_event("stop"),
        lambda: run.lock().__enter__(),
        lambda: run.new_checkpoint(1).__enter__(),
        lambda: RunDirectory.create(RunConfig(runs_dir=str(disk / "runs")), command="x"),
    ]
    for write in writers:
        with pytest.raises(RunError, match="cannot be written") as caught:
            write()
        assert "read-only" in str(caught.value)
    assert [record["step"] for record in run.read_metrics()] == [1]
    assert run.read_status().state == "created"


def test_a_run_on_a_read_only_disk_is_watched_but_not_driven(disk: Path) -> None:
    config = RunConfig(runs_dir=str(disk / "runs"))
    run = Run(RunDirectory.create(config, command="x"))
    run.directory.begin_attempt()
    run.directory.append_metrics({"kind": "train", "step": 1, "loss": 2.0})
    mount("-o", "remount,ro", str(disk))
    ended = RunDirectory(run.root)
    drivers: list[Callable[[], object]] = [
        run.stop,
        run.checkpoint,
        lambda: run.probe("x"),
        lambda: start_supervisor(ended),
        lambda: train(config),
        lambda: train(config, queue=True),
        lambda: set_slots(disk / "runs", 2),
    ]
    for drive in drivers:
        with pytest.raises(RunError, match="cannot be written") as caught:
            drive()
        assert "read-only" in str(caught.value)
    told: list[RunChange] = []
    rows: list[list[RunSummary]] = []
    stops = [RunMonitor.shared().watch(run.directory, told.append)]
    stops.append(RunMonitor.shared().watch_folder(disk / "runs", rows.append))
    end = time.monotonic() + 10
    while not (told and rows) and time.monotonic() < end:
        time.sleep(0.02)
    for stop in stops:
        stop()
    assert told[0].status.state == "running"
    assert rows[0][0].loss == 2.0


def test_a_short_write_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDirectory.create(RunConfig(runs_dir=str(tmp_path)), command="x")
    run.append_metrics({"kind": "train", "step": 1})
    write = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda handle, data: write(handle, data[:20]))
        full(lambda: run.append_metrics({"kind": "train", "step": 2}))
    run.append_metrics({"kind": "train", "step": 3})
    reader = MetricsReader(run.metrics_path)
    assert [record["step"] for record in reader.read()] == [1, 3]
    assert reader.corrupt == 1
