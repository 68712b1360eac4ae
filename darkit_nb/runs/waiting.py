"""Waiting for background work to end, the same for trainings and conversions."""

from __future__ import annotations

import time
from collections.abc import Callable

from darkit_nb.errors import RunError
from darkit_nb.runs.status import RunStatus

_POLL_SECONDS = 0.2


def wait_for_end(look: Callable[[], tuple[RunStatus, float]], timeout_s: float | None) -> RunStatus | None:
    """Look until the work is at no stage from which it goes on by itself.

    Args:
        look: reads the status now, and says how many seconds to let pass before the next look.
        timeout_s: give up after so many seconds; None never does.

    Returns:
        The status that ended the waiting; None where time was up first.
    """
    end = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        status, pause = look()
        if status.state in ("finished", "stopped", "failed", "lost", "created"):
            return status
        if end is not None and time.monotonic() >= end:
            return None
        time.sleep(pause)


def wait_while_active(read: Callable[[], RunStatus], wait_s: float) -> None:
    """Let up to `wait_s` seconds pass for somebody at work to end."""
    end = time.monotonic() + wait_s
    while read().active and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)


def ended_badly(what: str, status: RunStatus, *, expected: str, start: str, go_on: str) -> RunError:
    """Why waiting is in vain.

    Args:
        what: the work, as in "The run 2026…".
        status: created, failed or lost.
        expected: what could have been waited for.
        start: what begins it where nobody ever did.
        go_on: what goes on with it, where its own problem names no fix.
    """
    if status.state == "created":
        return RunError(f"{what} was never started.", expected=expected, received="created", fix=start)
    problem = status.problem or {}
    return RunError(
        f"{what} {'failed' if status.state == 'failed' else 'is lost'}: {problem.get('message') or status.reason}",
        expected=problem.get("expected"),
        received=problem.get("received"),
        cause=problem.get("cause"),
        fix=problem.get("fix") or go_on,
    )
