"""What a training and a conversion have in common for whoever holds one: a folder that says everything."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Self

from darkit_nb.errors import DarkitError, RunError
from darkit_nb.runs.control import send
from darkit_nb.runs.directory import RunDirectory
from darkit_nb.runs.log import LogReader
from darkit_nb.runs.queue import advance_queue, dequeue
from darkit_nb.runs.status import RunStatus, State

_POLL_SECONDS = 0.2
_QUEUE_SECONDS = 1.0
_NO_MORE = ("finished", "stopped", "failed", "lost", "created")
"""States from which work does not go on by itself."""


class Handle:
    """Background work by its folder. Holds nothing else, so any number of handles agree.

    Args:
        directory: the folder.
    """

    def __init__(self, directory: RunDirectory | str | Path) -> None:
        root = directory.root if isinstance(directory, RunDirectory) else Path(directory)
        self.directory = RunDirectory(root.expanduser().absolute())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.directory == other.directory

    def __hash__(self) -> int:
        return hash(self.directory)

    # -- what it is --------------------------------------------------------------------------------------------------

    @property
    def root(self) -> Path:
        """Its folder."""
        return self.directory.root

    @property
    def id(self) -> str:
        """Name of its folder."""
        return self.directory.id

    @property
    def status(self) -> RunStatus:
        """What it is doing, read now."""
        return self.directory.read_status()

    @property
    def state(self) -> State:
        """created, queued, starting, running, finished, stopped, failed or lost."""
        return self.status.state

    def log(self, lines: int = 200) -> str:
        """The last lines of its output."""
        return LogReader(self.directory.log_path).tail(lines)

    # -- what can be asked of it -------------------------------------------------------------------------------------

    def stop(self, *, wait_s: float = 0.0) -> str:
        """Ask it to end; what is done is kept. One that is queued is taken out of the queue.

        Args:
            wait_s: wait so many seconds for it to end.

        Returns: Id of the command; empty where nothing runs that could be stopped.
        """
        dequeue(self.directory)
        status = self.status
        if not status.active and status.orphan_pid is None:
            return ""
        sent = send(self.directory, "stop").id
        end = time.monotonic() + wait_s
        while self.status.active and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)
        return sent

    def wait(self, timeout_s: float | None = None) -> Self:
        """Wait until it has finished or was stopped.

        Args:
            timeout_s: give up waiting after so many seconds; it goes on.

        Raises:
            RunError: it failed or was lost, or is not done in time.
        """
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while (status := self.status).state not in _NO_MORE:
            if end is not None and time.monotonic() >= end:
                raise RunError(
                    f"{self._what} is not done after {timeout_s:g} seconds; it goes on.",
                    expected="finished or stopped",
                    received=f"{status.state}, {self._progress_words(status)}",
                    fix="wait again, or stop it",
                )
            time.sleep(self._let_go_on(status))
        if status.state not in ("finished", "stopped"):
            raise self._ended_badly(status)
        return self

    # -- inside ------------------------------------------------------------------------------------------------------

    @property
    def _what(self) -> str:
        """The work in a sentence, as in "The run 2026…"."""
        raise NotImplementedError

    def _progress_words(self, status: RunStatus) -> str:
        """How far it is."""
        raise NotImplementedError

    def _go_on(self) -> str:
        """What goes on with it, where its own problem names no fix."""
        raise NotImplementedError

    def _let_go_on(self, status: RunStatus) -> float:
        """See to it that one that is queued gets its turn; returns seconds until the next look."""
        if status.state != "queued":
            return _POLL_SECONDS
        advance_queue(self.root.parent)
        return _QUEUE_SECONDS

    def _ended_badly(self, status: RunStatus) -> DarkitError:
        """Why waiting is in vain: created, failed or lost."""
        expected = "one that is queued, starting or running"
        if status.state == "created":
            start = "start it with .resume()"
            return RunError(f"{self._what} was never started.", expected=expected, received="created", fix=start)
        problem = status.problem or {}
        how = "failed" if status.state == "failed" else "is lost"
        return RunError(
            f"{self._what} {how}: {problem.get('message') or status.reason}",
            expected=problem.get("expected"),
            received=problem.get("received"),
            cause=problem.get("cause"),
            fix=problem.get("fix") or self._go_on(),
        )
