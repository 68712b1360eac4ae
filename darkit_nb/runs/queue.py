"""Runs that wait for their turn: so many at once in a folder of runs, the others in the order they were queued.

Conversions wait in the folder their models lie in, among the runs there if there are any. What is queued has no
process. Whoever sees a place become free, the supervisor of a run that ends or any monitor, starts the next one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import psutil

from darkit_nb.config import RunConfig
from darkit_nb.config.memory import available_memory, estimate_memory
from darkit_nb.errors import ConfigError, DarkitError, problem_of
from darkit_nb.runs import lock
from darkit_nb.runs.checks import known_shape, may_use_gpu
from darkit_nb.runs.directory import RunDirectory, list_runs
from darkit_nb.runs.files import SCHEMA, from_json, to_json, write_atomic, writing
from darkit_nb.runs.launcher import refuse_active, start_supervisor
from darkit_nb.runs.status import QUEUED, RunStatus, queue_order
from darkit_nb.runs.workers import conversion_folders

Slots = int | Literal["fit"]

MAX_SLOTS = 64
_SETTINGS = ".queue.json"
_USABLE = 0.95


def enqueue(run: RunDirectory, overrides: Sequence[str] = ()) -> None:
    """Let a run wait for its turn; it starts at once where a place is free.

    Args:
        run: A run nobody trains; one with a checkpoint will go on from there.
        overrides: `key=value` settings of that start alone.

    Raises:
        RunError: it is being trained, or its folder cannot be written.
    """
    refuse_active(run)
    marker = {"schema": SCHEMA, "time": time.time(), "overrides": list(overrides)}
    write_atomic(run.root / QUEUED, to_json(marker) + "\n")
    advance_queue(run.root.resolve().parent)


def dequeue(run: RunDirectory) -> bool:
    """Take a run out of the queue; whether it was in it."""
    marker = run.root / QUEUED
    with writing(marker):
        there = marker.exists()
        if there:  # asked first: a read-only disk refuses to remove even what is not there
            marker.unlink(missing_ok=True)
    return there


def queued_runs(runs_dir: str | Path) -> list[RunDirectory]:
    """Runs that wait, the next one first."""
    return [run for run, _ in _waiting(_states(Path(runs_dir).expanduser()))]


def read_slots(runs_dir: str | Path) -> Slots:
    """How many runs of a folder are trained at once; 1 unless `set_slots` said otherwise."""
    try:
        slots = from_json((Path(runs_dir).expanduser() / _SETTINGS).read_bytes())["slots"]
        return _checked(slots)
    except (OSError, ValueError, KeyError, TypeError):
        return 1


def set_slots(runs_dir: str | Path, slots: Slots) -> None:
    """Say how many runs of a folder are trained at once, and start those that now may.

    Args:
        runs_dir: Folder of runs.
        slots: A number, or `fit`: as many as the estimate of their memory allows.

    Raises:
        ConfigError: neither.
        RunError: the folder cannot be written.
    """
    folder = Path(runs_dir).expanduser()
    write_atomic(folder / _SETTINGS, to_json({"schema": SCHEMA, "slots": _checked(slots)}) + "\n")
    advance_queue(folder)


def advance_queue(runs_dir: str | Path) -> list[RunDirectory]:
    """Start the runs whose turn it is; returns them. One that cannot start is marked failed, and the next one tried.

    Raises:
        RunError: the folder cannot be written.
    """
    folder, started = Path(runs_dir).expanduser(), list[RunDirectory]()
    if not any((run.root / QUEUED).exists() for run in _all_in(folder)):
        return []  # without leaving a lock in a folder of models where nothing ever waits
    with lock.exclusive(folder / ".queue.lock", f"The queue of {folder}", wait_seconds=10.0):
        slots = read_slots(folder)
        states = _states(folder)
        busy = [(run, status) for run, status in states if status.active or status.orphan_pid is not None]
        for run, status in _waiting(states):
            if not _has_place(run, busy, slots):
                break  # in order: a small run does not overtake a large one for ever
            if _start(run):
                started.append(run)
                busy.append((run, status))
    return started


def _all_in(folder: Path) -> list[RunDirectory]:
    return [*list_runs(folder), *map(RunDirectory, conversion_folders(folder))]


def _states(folder: Path) -> list[tuple[RunDirectory, RunStatus]]:
    found = []
    for run in _all_in(folder):
        with suppress(DarkitError):  # of a newer version
            found.append((run, run.read_status()))
    return found


def _waiting(states: list[tuple[RunDirectory, RunStatus]]) -> list[tuple[RunDirectory, RunStatus]]:
    waiting = [(run, status) for run, status in states if status.state == "queued"]
    return sorted(waiting, key=lambda each: queue_order(each[0].root, each[1]))


def _start(run: RunDirectory) -> bool:
    try:
        overrides = from_json((run.root / QUEUED).read_bytes()).get("overrides", [])
        start_supervisor(run, [str(override) for override in overrides])
    except FileNotFoundError:
        return False  # taken out of the queue this moment
    except (DarkitError, ValueError, OSError) as error:
        problem = problem_of(error)
        with suppress(DarkitError):
            if not run.read_status().active:  # somebody else may have started it this moment
                run.write_status(state="failed", message=problem["message"], problem=problem)
        dequeue(run)
        return False
    return True


def _has_place(run: RunDirectory, busy: list[tuple[RunDirectory, RunStatus]], slots: Slots) -> bool:
    if not busy:
        return True
    if slots != "fit":
        return len(busy) < slots
    needed = _needed_bytes(run)
    others = [_still_to_come(other, status) for other, status in busy]
    if needed is None or None in others:
        return False
    return needed + sum(filter(None, others)) <= _USABLE * available_memory()


def _needed_bytes(run: RunDirectory) -> int | None:
    """What a run is estimated to take of this machine's memory; None where nobody knows."""
    try:
        config: RunConfig = run.read_config()
        shape = None if may_use_gpu(config) else known_shape(config)
        return None if shape is None else estimate_memory(config, shape).total_bytes
    except DarkitError:
        return None


def _still_to_come(run: RunDirectory, status: RunStatus) -> int | None:
    """What a run that is at work will yet take, beyond what its process holds already."""
    needed = _needed_bytes(run)
    if needed is None:
        return None
    try:
        held = psutil.Process(status.orphan_pid or status.pid).memory_info().rss if status.state == "running" else 0
    except (psutil.Error, ValueError):
        held = 0
    return max(0, needed - held)


def _checked(slots: Any) -> Slots:
    if slots == "fit" or (isinstance(slots, int) and not isinstance(slots, bool) and 1 <= slots <= MAX_SLOTS):
        return slots
    raise ConfigError(
        "That is no number of runs at once.", expected=f"1 to {MAX_SLOTS}, or 'fit'", received=repr(slots)
    )
