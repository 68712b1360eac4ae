"""A table between record and screen: plain data that lowers to text, and to rich text."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.text import Text

WIDTH = 80


@dataclass(frozen=True)
class TableView:
    """Cells that are already words.

    Attributes:
        title: one line above.
        headers: one per column; the first column is left-aligned, the others are right-aligned.
        rows: cells; the last one is set off when `total` says so.
        notes: sentences below.
        total: whether the last row sums up.
    """

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    total: bool = False

    def to_text(self, width: int = WIDTH) -> str:
        """Plain text. A first column too long for `width` columns is shortened at its start; notes are wrapped."""
        return "\n".join(line for _, line in self._lines(width))

    def _lines(self, width: int) -> Iterator[tuple[str, str]]:
        """Lines from top to bottom, each with its style."""
        columns = list(zip(self.headers, *self.rows, strict=True))
        widths = [max(map(columns_of, column)) for column in columns]
        gaps = 2 * (len(widths) - 1)
        widths[0] = max(columns_of(self.headers[0]), 8, min(widths[0], width - sum(widths[1:]) - gaps))
        rule = "─" * (sum(widths) + gaps)
        yield from (("bold", line) for line in textwrap.wrap(self.title, width))
        yield "dim", _line(self.headers, widths)
        yield "dim", rule
        for index, row in enumerate(self.rows):
            sums_up = self.total and index == len(self.rows) - 1
            if sums_up and index:
                yield "dim", rule
            yield ("bold" if sums_up else ""), _line(row, widths)
        for note in self.notes:
            yield from (("dim", line) for line in textwrap.wrap(note, width, subsequent_indent="  "))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """The same for `rich.print`, in the width of the terminal."""
        from rich.text import Text

        yield from (
            Text(line, style, overflow="ellipsis", no_wrap=True) for style, line in self._lines(options.max_width)
        )

    def __str__(self) -> str:
        return self.to_text()


def columns_of(text: str) -> int:
    """Columns a text takes on a terminal, where wide letters take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    first, width = cells[0], widths[0]
    if columns_of(first) > width:
        first = "…" + first[-(width - 1) :]
    padded = [first + " " * (width - columns_of(first))]
    padded += [" " * (width - columns_of(cell)) + cell for cell, width in zip(cells[1:], widths[1:], strict=True)]
    return "  ".join(padded).rstrip()
