"""One thread watches many runs: everything arrives, nothing that happens to a folder ends it, and it costs little."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from darkit_nb.config import RunConfig
from darkit_nb.runs import RunChange, RunDirectory, RunMonitor, RunSummary

SECONDS = 120.0  # a machine may be many times slower than usual


def make(runs_dir: Path, name: str = "watched") -> RunDirectory:
    run = RunDirectory.create(RunConfig(runs_dir=str(runs_dir), name=name), command="x")
    run.begin_attempt()
    return run


def until(condition: Callable[[], Any], seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.01)


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.changes: list[RunChange] = []

    def __call__(self, change: RunChange) -> None:
        self.changes.append(change)

    @property
    def steps(self) -> list[int]:
        return [record["step"] for change in self.changes for record in change.metrics]

    @property
    def last(self) -> RunChange:
        return self.changes[-1]


@pytest.fixture
def monitor() -> Iterator[RunMonitor]:
    watcher = RunMonitor()
    yield watcher
    watcher._runs.clear()
    watcher._folders.clear()


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return make(tmp_path / "runs")


def measure(run: RunDirectory, *steps: int) -> None:
    for step in steps:
        run.append_metrics({"kind": "train", "step": step, "loss": 1.0 / step})


def test_everything_so_far_comes_first_then_what_is_new(monitor: RunMonitor, run: RunDirectory) -> None:
    measure(run, 1, 2)
    heard = Heard()
    monitor.watch(run, heard)
    until(lambda: heard.changes)
    first = heard.changes[0]
    assert (first.status.state, first.run) == ("running", run)
    assert first.history.series("train", "loss")[0].tolist() == [1, 2]
    assert [event["kind"] for event in first.events] == ["attempt"]
    assert heard.steps == [2], "the newest of each kind"
    measure(run, 3)
    run.append_event("checkpoint", step=3)
    run.log_path.write_text("hello\n")
    until(lambda: heard.steps == [2, 3] and any(change.log_grew for change in heard.changes[1:]))
    assert [event["kind"] for change in heard.changes[1:] for event in change.events] == ["checkpoint"]
    run.write_status(state="finished")
    until(lambda: heard.last.status.state == "finished")


def test_who_comes_late_hears_everything_too(monitor: RunMonitor, run: RunDirectory) -> None:
    early, late = Heard(), Heard()
    monitor.watch(run, early)
    until(lambda: early.changes)
    measure(run, 1, 2)
    until(lambda: 2 in early.steps)
    monitor.watch(run, late)
    until(lambda: late.changes)
    assert late.changes[0].history is early.last.history
    assert late.changes[0].events == early.changes[0].events


def test_nobody_is_told_after_he_has_gone_and_the_thread_ends(monitor: RunMonitor, run: RunDirectory) -> None:
    heard = Heard()
    unwatch = monitor.watch(run, heard)
    until(lambda: heard.changes)
    unwatch()
    unwatch()
    count = len(heard.changes)
    measure(run, 1)
    until(lambda: monitor._thread is None)
    assert len(heard.changes) == count
    monitor.watch(run, heard)
    until(lambda: 1 in heard.steps)


def test_a_quiet_run_is_not_repeated(monitor: RunMonitor, run: RunDirectory) -> None:
    heard = Heard()
    monitor.watch(run, heard)
    until(lambda: heard.changes)
    time.sleep(1.0)
    assert len(heard.changes) == 1


def test_a_listener_that_raises_disturbs_nobody(
    monitor: RunMonitor, run: RunDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(change: RunChange) -> None:
        raise KeyError("broken widget")

    heard = Heard()
    monitor.watch(run, broken)
    monitor.watch(run, heard)
    measure(run, 1)
    until(lambda: 1 in heard.steps)
    assert "broken widget" in caplog.text


def test_a_deleted_run_is_missing_once_and_may_come_back(
    monitor: RunMonitor, run: RunDirectory, tmp_path: Path
) -> None:
    heard = Heard()
    measure(run, 1)
    monitor.watch(run, heard)
    until(lambda: heard.changes)
    shutil.copytree(run.root, tmp_path / "kept")
    shutil.rmtree(run.root)
    until(lambda: heard.last.missing)
    time.sleep(1.2)
    assert [change.missing for change in heard.changes].count(True) == 1
    late = Heard()
    monitor.watch(run, late)
    until(lambda: late.changes)
    assert late.last.missing
    shutil.copytree(tmp_path / "kept", run.root)  # file by file, and it may be looked at in between
    until(lambda: heard.last.history.series("train", "loss")[0].tolist() == [1] and not heard.last.missing)
    assert any(change.reset for change in heard.changes)


def test_a_replaced_file_starts_the_history_again(monitor: RunMonitor, run: RunDirectory) -> None:
    heard = Heard()
    measure(run, *range(1, 6))
    monitor.watch(run, heard)
    until(lambda: heard.changes)
    run.metrics_path.write_text(json.dumps({"schema": 1, "attempt": 1, "kind": "train", "step": 9, "loss": 1.0}) + "\n")
    until(lambda: heard.last.history.series("train", "loss")[0].tolist() == [9])
    assert any(change.reset for change in heard.changes)


def test_corrupt_lines_are_passed_over(monitor: RunMonitor, run: RunDirectory) -> None:
    heard = Heard()
    monitor.watch(run, heard)
    with run.metrics_path.open("ab") as stream:
        stream.write(b'\x00\xff\n[1, 2]\n{"kind": "train", "step": "x"}\n{"kind": "train", "st')
    run.events_path.write_bytes(run.events_path.read_bytes() + b"nonsense\n")
    run.status_path.write_text("{")
    until(lambda: heard.changes and heard.last.status.state == "lost")
    measure(run, 7)
    until(lambda: 7 in heard.steps)


def test_a_killed_trainer_is_noticed_although_no_file_changes(monitor: RunMonitor, run: RunDirectory) -> None:
    code = (
        "import sys, time\nfrom darkit_nb.runs import RunDirectory\nRunDirectory(sys.argv[1]).begin_attempt()\n"
        "print('up', flush=True)\ntime.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(run.root)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        heard = Heard()
        monitor.watch(run, heard)
        until(lambda: heard.changes)
        assert heard.last.status.state == "running"
        process.kill()
        process.wait()
    until(lambda: heard.last.status.state == "lost")


def test_a_long_history_arrives_in_pieces(monitor: RunMonitor, run: RunDirectory) -> None:
    line = json.dumps({"schema": 1, "attempt": 1, "kind": "train", "step": 0, "loss": 1.0, "filler": "x" * 400})
    with run.metrics_path.open("w") as stream:
        for step in range(1, 20_001):
            stream.write(line.replace('"step": 0', f'"step": {step}') + "\n")
    heard = Heard()
    monitor.watch(run, heard)
    until(lambda: heard.changes and len(heard.last.history.series("train", "loss")[0]) == 20_000)
    assert len(heard.changes) > 1


def test_a_folder_tells_of_runs_that_come_change_and_go(monitor: RunMonitor, tmp_path: Path) -> None:
    told: list[list[RunSummary]] = []
    monitor.watch_folder(tmp_path / "runs", told.append)
    until(lambda: told)
    assert told[-1] == []
    run = make(tmp_path / "runs", "first")
    until(lambda: [row.name for row in told[-1]] == ["first"])
    run.append_metrics({"kind": "train", "step": 4, "loss": 2.5, "tokens_per_s": 100.0, "step_seconds": 0.5})
    run.write_status(total_steps=10)
    until(lambda: told[-1][0].loss == 2.5 and told[-1][0].total_steps == 10)
    row = told[-1][0]
    assert (row.state, row.step, row.tokens_per_s, row.eta_s) == ("running", 4, 100.0, 3.0)
    make(tmp_path / "runs", "second")
    until(lambda: len(told[-1]) == 2)
    shutil.rmtree(run.root)
    until(lambda: [row.name for row in told[-1]] == ["second"])


GROW = """
import sys, time
from darkit_nb.runs import RunDirectory
runs = [RunDirectory(path) for path in sys.argv[1:]]
for run in runs: run.begin_attempt()
print('up', flush=True)
for step in range(1, 10**6):
    for run in runs:
        run.append_metrics({'kind': 'train', 'step': step, 'loss': 1.0 / step, 'learning_rate': 1e-3, 'grad_norm': 1.0,
                            'step_seconds': 0.1, 'tokens_per_s': 1e4, 'memory_bytes': 5 * 10**8})
    time.sleep(0.1)
"""


def test_ten_growing_runs_cost_less_than_two_percent_of_a_core(monitor: RunMonitor, tmp_path: Path) -> None:
    runs = [make(tmp_path / "runs", f"run-{number}") for number in range(10)]
    command = [sys.executable, "-c", GROW, *(str(run.root) for run in runs)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            heard = [Heard() for _ in runs]
            for run, listener in zip(runs, heard, strict=True):
                monitor.watch(run, listener)
            monitor.watch_folder(tmp_path / "runs", lambda rows: None)
            until(lambda: all(listener.changes for listener in heard))
            thread = monitor._thread
            assert thread is not None
            start, cpu = time.monotonic(), thread_seconds(thread)
            time.sleep(4.0)
            until(lambda: all(len(listener.steps) > 20 for listener in heard))
            share = (thread_seconds(thread) - cpu) / (time.monotonic() - start)
        finally:
            process.kill()
    assert share < 0.02


def thread_seconds(thread: threading.Thread) -> float:
    """CPU time of one thread, from the system."""
    fields = Path(f"/proc/self/task/{thread.native_id}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
