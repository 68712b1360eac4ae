"""Reading append-only JSON lines while somebody writes them, and the one view of a run over all its attempts."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from darkit_nb.runs.files import SCHEMA, from_json

Record = dict[str, Any]


class MetricsReader:
    """Tails a file of JSON lines by byte offset: every complete line is returned once, a torn one is awaited.

    Args:
        path: The file; it may not exist yet.
        tail_bytes: Start so far before the end of the file, at a whole line; None starts at the beginning.

    Attributes:
        corrupt: Complete lines that were no JSON object and were skipped.
        newer: Lines of a newer schema that were skipped.
        behind: Whether the last read left complete lines for the next, because of its limit.
        generation: Grows when the file was replaced or cut; earlier records are then void.
    """

    def __init__(self, path: str | Path, *, tail_bytes: int | None = None) -> None:
        self.path = Path(path)
        self.behind = False
        self.corrupt = 0
        self.newer = 0
        self.generation = 0
        self._offset = 0
        self._inode: int | None = None
        self._tail_bytes = tail_bytes

    def read(self, limit_bytes: int | None = None) -> list[Record]:
        """The records of lines completed since the last call.

        Args:
            limit_bytes: Read at most this much now (a longer single line is still read whole); None reads all.
        """
        try:
            stream = self.path.open("rb")
        except (FileNotFoundError, NotADirectoryError):
            if self._inode is not None:
                self._start_over()  # what comes in its place is another file, perhaps under the same inode
            return []
        with stream:
            size = self._notice_replacement(stream)
            stream.seek(self._offset)
            data = stream.read(-1 if limit_bytes is None else limit_bytes)
            while limit_bytes is not None and b"\n" not in data and (more := stream.read(limit_bytes)):
                data += more
        complete = data[: data.rfind(b"\n") + 1]
        self._offset += len(complete)
        self.behind = bool(complete) and self._offset + len(data) - len(complete) < size
        return [record for line in complete.split(b"\n") if line.strip() for record in self._parse(line)]

    def _notice_replacement(self, stream: Any) -> int:
        """Start again where the file is another one; returns its size."""
        found = os.fstat(stream.fileno())
        if (self._inode is not None and found.st_ino != self._inode) or found.st_size < self._offset:
            self._start_over()
        if self._inode is None and self._tail_bytes is not None and found.st_size > self._tail_bytes:
            stream.seek(found.st_size - self._tail_bytes)
            stream.readline()
            self._offset = stream.tell()
        self._inode = found.st_ino
        return found.st_size

    def _start_over(self) -> None:
        self.generation += 1
        self._offset = self.corrupt = self.newer = 0
        self._inode = None

    def _parse(self, line: bytes) -> list[Record]:
        try:
            record = from_json(line)
            schema = record.get("schema", SCHEMA)
            if schema > SCHEMA:
                self.newer += 1
                return []
        except (ValueError, TypeError, RecursionError):
            self.corrupt += 1
            return []
        return [record]


def last_attempts(records: Iterable[Record]) -> list[Record]:
    """One record per (step, kind): that of the last attempt, so a resumed run shows every step once.

    Args:
        records: Metrics in the order they were written; those without step or kind are left out.

    Returns: Records ordered by step; kinds of one step in the order they first came.
    """
    chosen: dict[tuple[int, str], Record] = {}
    for record in records:
        step, kind = record.get("step"), record.get("kind")
        if not isinstance(step, int) or not isinstance(kind, str):
            continue
        before = chosen.get((step, kind))
        if before is None or record.get("attempt", 0) >= before.get("attempt", 0):
            chosen[step, kind] = record
    return sorted(chosen.values(), key=lambda record: record["step"])
