"""Reading a log that somebody writes: its end, what is new, and what matches."""

from __future__ import annotations

import os
from pathlib import Path

_BLOCK = 2**16
_LONGEST_LINE = 2000
_SEARCH_BYTES = 64 * 2**20


class LogReader:
    """Reads a text log by bytes; nothing of it is kept in memory.

    Progress bars redraw a line with carriage returns; of such a line the last state is given.

    Args:
        path: The file; it may not exist yet.
        start: Offset before which nothing is read.

    Attributes:
        skipped_bytes: How much `read_new` left out because more came than its limit.
    """

    def __init__(self, path: str | Path, *, start: int = 0) -> None:
        self.path = Path(path)
        self.skipped_bytes = 0
        self._start = self._offset = start
        self._inode: int | None = None

    def tail(self, lines: int = 200) -> str:
        """The last lines, a torn one included."""
        try:
            with self.path.open("rb") as stream:
                end = stream.seek(0, os.SEEK_END)
                data, place = b"", end
                while place > self._start and data.count(b"\n") <= lines:
                    size = min(_BLOCK, place - self._start)
                    place -= size
                    stream.seek(place)
                    data = stream.read(size) + data
        except OSError:
            return ""
        return "\n".join(_lines(data)[-lines:]) if lines > 0 else ""

    def read_new(self, limit_bytes: int = 2**18) -> str:
        """Complete lines since the last call; of a burst beyond the limit only its end.

        After the file was replaced or cut, reading starts again at its beginning.
        """
        try:
            stream = self.path.open("rb")
        except OSError:
            self._offset = 0  # what comes in its place is another file, perhaps under the same inode
            return ""
        with stream:
            found = os.fstat(stream.fileno())
            if (self._inode is not None and found.st_ino != self._inode) or found.st_size < self._offset:
                self._offset = 0
            self._inode = found.st_ino
            behind = found.st_size - self._offset
            if behind > limit_bytes:
                self.skipped_bytes += behind - limit_bytes
                self._offset = found.st_size - limit_bytes
            stream.seek(self._offset)
            data = stream.read(limit_bytes)
        if behind > limit_bytes:
            cut = data.find(b"\n") + 1  # the line we landed in
            self._offset += cut
            data = data[cut:]
        complete = data[: data.rfind(b"\n") + 1]
        self._offset += len(complete)
        return "".join(line + "\n" for line in _lines(complete))

    def search(self, text: str, limit: int = 500) -> list[tuple[int, str]]:
        """The last lines that hold a text, with their numbers counted from 1; upper and lower case are the same.

        Of a log beyond 64 MB only the end is searched, and its lines are numbered from there.
        """
        wanted, found = text.casefold(), list[tuple[int, str]]()
        try:
            with self.path.open("rb") as stream:
                size = stream.seek(0, os.SEEK_END)
                stream.seek(max(self._start, size - _SEARCH_BYTES))
                for number, raw in enumerate(stream, 1):
                    line = _text(raw)
                    if wanted in line.casefold():
                        found.append((number, line))
                        if len(found) > 2 * limit:
                            del found[:-limit]
        except OSError:
            return []
        return found[-limit:]


def _lines(data: bytes) -> list[str]:
    parts = data.split(b"\n")
    return [_text(part) for part in (parts[:-1] if not parts[-1] else parts)]


def _text(line: bytes) -> str:
    shown = line.rstrip(b"\r\n").rpartition(b"\r")[2][: 4 * _LONGEST_LINE]
    text = shown.decode("utf-8", errors="replace")
    return text if len(text) <= _LONGEST_LINE else text[: _LONGEST_LINE - 1] + "…"
