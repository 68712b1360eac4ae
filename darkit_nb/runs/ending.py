"""Ending trainers that lost their supervisor."""

from __future__ import annotations

import signal
import time

import psutil

from darkit_nb.errors import RunError
from darkit_nb.runs import identity, lock
from darkit_nb.runs.directory import RunDirectory
from darkit_nb.runs.launcher import START_LOCK

_ORDERLY_SECONDS = 30.0
_POLL_SECONDS = 0.05


def end_orphan(run: RunDirectory) -> bool:
    """End the trainer that goes on without its supervisor: in order, with a checkpoint; by force if that takes long.

    Returns: Whether there was one.

    Raises:
        RunError: this user may not end it.
    """
    with lock.exclusive(run.root / START_LOCK, f"The start of the run {run.id}", wait_seconds=10.0):
        pid = run.read_status().orphan_pid
        if pid is None:
            return False
        started = identity.process_started(pid)
        try:
            process = psutil.Process(pid)
            process.terminate()
            if not _gone(pid, started, _ORDERLY_SECONDS):
                process.kill()
                _gone(pid, started, _ORDERLY_SECONDS)
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied as error:
            raise RunError(
                f"Process {pid} cannot be ended.",
                expected="a process of this user",
                received=str(error),
                fix=f"ask its owner to send it {signal.SIGTERM.name}",
            ) from error
    return True


def _gone(pid: int, started: float | None, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while identity.process_started(pid) == started:
        if time.monotonic() >= end:
            return False
        time.sleep(_POLL_SECONDS)
    return True
