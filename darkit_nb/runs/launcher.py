"""Starting a run's supervisor, once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

from darkit_nb.errors import RunError
from darkit_nb.runs import identity, lock
from darkit_nb.runs.directory import RunDirectory
from darkit_nb.runs.launch_record import LaunchRecord
from darkit_nb.runs.processes import detached, reap, working_folder
from darkit_nb.runs.status import QUEUED
from darkit_nb.runs.workers import CONVERSION_SUFFIX, is_conversion

START_LOCK = ".start.lock"


def start_supervisor(run: RunDirectory, overrides: Sequence[str] = ()) -> None:
    """Start the supervisor of a run, which starts its trainer, and return at once.

    Args:
        run: A run that nobody is at work on. One with a checkpoint goes on from there.
        overrides: `key=value` settings of this attempt alone.

    Raises:
        RunError: it is being trained already, here or elsewhere; or its folder cannot be written.
    """
    root = run.root.resolve()
    run = RunDirectory(root)
    with lock.exclusive(root / START_LOCK, f"The start of the run {run.id}", wait_seconds=10.0):
        refuse_active(run)
        attempt = run.attempt + 1
        arguments = [str(root), str(attempt), *overrides]
        process = detached("darkit_nb.runs.supervisor", arguments, log=run.log_path, cwd=working_folder(root))
        reap(process)
        launch_record(process.pid, attempt).write(root)
        with suppress(FileNotFoundError):
            (root / QUEUED).unlink()


def refuse_active(run: RunDirectory) -> None:
    """Refuse to start what is being trained.

    Raises:
        RunError: somebody is at work, under supervision or as an orphan.
    """
    status, converts = run.read_status(), is_conversion(run.root)
    what = f"The conversion {run.id}" if converts else f"The run {run.id}"
    expected = "a conversion that nobody is at work on" if converts else "a run that nobody is training"
    if status.active:
        raise RunError(
            f"{what} is {status.state} already.",
            expected=expected,
            received=f"process {status.pid} on {status.host}" if status.state == "running" else status.state,
            cause="it was started twice, perhaps from another window or notebook",
            fix="watch it instead, or stop it first",
        )
    if status.orphan_pid is not None:
        out = str(run.root).removesuffix(CONVERSION_SUFFIX)
        raise RunError(
            f"{what} goes on without its supervisor.",
            expected=expected,
            received=f"process {status.orphan_pid} on {status.host}",
            cause="the supervisor was killed",
            fix=f"darkit-nb conversions resume --detach {out} ends it and goes on"
            if converts
            else f"darkit-nb runs end {run.id}, then resume it",
        )


def launch_record(pid: int, attempt: int) -> LaunchRecord:
    """The record of a supervisor that has just started."""
    now = time.time()
    return LaunchRecord(
        attempt=attempt,
        pid=pid,
        process_started=identity.process_started(pid),
        host=identity.host(),
        boot_id=identity.boot_id(),
        heartbeat=now,
        started=now,
    )
