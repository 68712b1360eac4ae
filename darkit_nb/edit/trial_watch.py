"""Watches over the process of one trial: what it says and prints, and that it ends in time. Loads no torch."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

SPOKEN = 1500
"""Characters kept of what an edit prints, at the beginning and at the end."""

START_S = 120.0
"""For a trial to unpack its module and import what that needs."""

PACES = 25
"""Forwards of the class as it was that the time limit is prolonged by: a large module is slow without any fault."""

_TICK_S = 0.02
_READS = 16
"""Pieces read at a time from one that prints without end."""


class Child(Protocol):
    """A process with two pipes to read: its messages, one line of JSON each, and what it prints."""

    pid: int
    results: int
    output: int

    def poll(self) -> int | None:
        """Exit status, minus the signal; None while it runs."""
        ...


def supervise(child: Child, limit_s: float) -> dict[str, Any]:
    """Wait for a trial, and end it when its time is up.

    Returns: its `status` (None when its time was up), the last `stage`, its `output`, and the `outcome`, if it came to
        one, or why it `failed` before.
    """
    told, spoken = _Told(limit_s), _Spoken()
    takers = {child.results: told.add, child.output: spoken.add}
    for pipe in takers:
        os.set_blocking(pipe, False)
    status, late = None, False
    while status is None:
        status = child.poll()
        if status is None and time.monotonic() > told.end:
            late = True
            end_all(child.pid)
            with suppress(ProcessLookupError):  # it may not lead its group yet
                os.kill(child.pid, signal.SIGKILL)
        _drain(takers, 0 if status is not None else _TICK_S)
    end_all(child.pid)  # whatever the edit started
    while _drain(takers, 0):
        pass
    for pipe in takers:
        os.close(pipe)
    return {"status": None if late else status, "stage": told.stage, "output": spoken.text(), **told.found}


def end_all(pid: int) -> None:
    """End a process and all that it started, where it leads its group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _drain(takers: dict[int, Callable[[bytes], None]], wait_s: float) -> bool:
    """Read what is there, waiting a little for it; whether there was any."""
    ready, _, _ = select.select(list(takers), [], [], wait_s)
    found = False
    for pipe in ready:
        with suppress(BlockingIOError):
            for _ in range(_READS):
                part = os.read(pipe, 1 << 16)
                if not part:
                    break
                takers[pipe](part)
                found = True
    if ready and not found:
        time.sleep(wait_s)  # closed pipes are always ready
    return found


class _Told:
    """The messages of a trial: its stages, its pace, its end."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s, self._rest = limit_s, b""
        self.stage, self.found = "start", dict[str, Any]()
        self.end = time.monotonic() + START_S + limit_s

    def add(self, part: bytes) -> None:
        """More of them."""
        *lines, self._rest = (self._rest + part).split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    def _take(self, message: dict[str, Any]) -> None:
        if "stage" in message:
            self.stage = message["stage"]
            if self.stage == "import":
                self.end = time.monotonic() + self._limit_s
        elif "pace" in message:
            self.end += PACES * message["pace"]
        else:
            self.found |= message


class _Spoken:
    """The beginning and the end of what was printed."""

    def __init__(self) -> None:
        self._first, self._last, self._size = bytearray(), bytearray(), 0

    def add(self, part: bytes) -> None:
        """More of it."""
        self._size += len(part)
        room = SPOKEN - len(self._first)
        self._first += part[:room]
        self._last = (self._last + part[max(room, 0) :])[-SPOKEN:]

    def text(self) -> str:
        """All of it, or what is left of it."""
        lost = self._size - len(self._first) - len(self._last)
        gap = f"\n… {lost:,} characters …\n".encode() if lost else b""
        return bytes(self._first + gap + self._last).decode(errors="replace")
