"""The end of a run's log on its way to the page: in batches that join on, each of a bounded size."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkit_nb.runs.log import LogReader

KEPT_LINES = 500
PUSH_BYTES = 64_000
"""Largest text of one message; of a burst beyond it only the end is sent, and the page says how much is missing."""
MAX_HITS = 200
_HIT_LETTERS = 300


@dataclass(frozen=True)
class Batch:
    """Lines for the page.

    Attributes:
        before: lines the feed had handed out before these.
        skipped: bytes of the log left out right before them.
        text: complete lines.
    """

    before: int
    skipped: int
    text: str

    def message(self) -> tuple[dict[str, Any], list[bytes]]:
        """As a message and its buffer."""
        return {"before": self.before, "skipped": self.skipped}, [self.text.encode()]


class LogFeed:
    """Follows one log; any number of pages can join at any time.

    Args:
        path: the log, which may not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._reader = LogReader(path)
        self._lock = threading.Lock()
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._total = 0
        self._skipped = 0

    def read(self) -> Batch | None:
        """What came since the last call; None where nothing did."""
        with self._lock:
            text = self._reader.read_new(PUSH_BYTES)
            if not text:
                return None
            skipped, self._skipped = self._reader.skipped_bytes - self._skipped, self._reader.skipped_bytes
            lines = text.removesuffix("\n").split("\n")
            batch = Batch(self._total, skipped, "\n".join(lines) + "\n")
            self._lines.extend(lines)
            self._total += len(lines)
            return batch

    def whole(self) -> Batch:
        """The end of the log, for a page that has nothing yet."""
        self.read()
        with self._lock:
            lines = _fitting(self._lines)
            return Batch(self._total - len(lines), 0, "".join(f"{line}\n" for line in lines))

    def recent(self, count: int) -> list[str]:
        """The last lines."""
        with self._lock:
            return list(self._lines)[-count:]


def search(path: Path, text: str) -> tuple[dict[str, Any], list[bytes]]:
    """The last lines of a whole log that hold `text`, as a message and its buffer of `number<TAB>line`."""
    found = LogReader(path).search(text, MAX_HITS + 1) if text else []
    shown = found[-MAX_HITS:]
    told = "".join(f"{number}\t{_around(line, text)}\n" for number, line in shown)
    return {"text": text, "count": len(shown), "more": len(found) > len(shown)}, [told.encode()]


def _around(line: str, text: str) -> str:
    """A long line, cut so that the place that matches stays."""
    place = max(0, line.casefold().find(text.casefold()) - _HIT_LETTERS // 3)
    if len(line) <= _HIT_LETTERS:
        return line
    return (
        ("…" if place else "") + line[place : place + _HIT_LETTERS] + ("…" if place + _HIT_LETTERS < len(line) else "")
    )


def _fitting(lines: Iterable[str]) -> list[str]:
    """The last lines that fit into one message."""
    kept, size = deque[str](), 0
    for line in reversed(list(lines)):
        size += len(line.encode()) + 1
        if size > PUSH_BYTES:
            break
        kept.appendleft(line)
    return list(kept)
