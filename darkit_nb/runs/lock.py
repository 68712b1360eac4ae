"""One writer per run: a lock the system releases when its holder dies, however it dies."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from darkit_nb.errors import RunError
from darkit_nb.runs import identity
from darkit_nb.runs.files import writing

_UNSUPPORTED = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_held: set[int] = set()


def _forget_in_child() -> None:
    """A forked worker must not keep the lock alive after its parent was killed."""
    for handle in _held:
        with suppress(OSError):
            os.close(handle)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


def _try_lock(handle: int) -> bool:
    """Whether this file handle now has the lock; file systems without locks say yes."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _UNSUPPORTED
    return True


@contextmanager
def exclusive(path: Path, what: str, *, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold the lock file `path` for the length of a block.

    Args:
        path: Lock file, created where needed. Its text names the holder.
        what: What is locked, for the error.
        wait_seconds: How long to wait for another holder before giving up.

    Raises:
        RunError: another process, or another part of this one, holds it; or the folder is not writable.
    """
    with writing(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
    try:
        deadline = time.monotonic() + wait_seconds
        while not _try_lock(handle):
            if time.monotonic() >= deadline:
                raise _busy(path, what)
            time.sleep(0.02)
        _held.add(handle)
        if sys.platform != "win32":
            with suppress(OSError):
                os.ftruncate(handle, 0)
                os.pwrite(handle, json.dumps(identity.this_process()).encode(), 0)
        yield
    finally:
        _held.discard(handle)
        os.close(handle)


def _busy(path: Path, what: str) -> RunError:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        who = f"process {holder['pid']} on {holder['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        who = "another process"
    return RunError(
        f"{what} is being written by {who}.",
        expected="one writer at a time",
        received=f"a second writer, process {os.getpid()}",
        cause="somebody is still at work on it, perhaps started from another window or notebook",
        fix="stop the other one first, or begin one of its own in another folder",
    )
