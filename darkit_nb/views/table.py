"""A table between record and screen: plain data that lowers to text or to rich."""

from __future__ import annotations

import textwrap
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Group

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
        columns = list(zip(self.headers, *self.rows, strict=True))
        widths = [max(map(columns_of, column)) for column in columns]
        widths[0] = max(columns_of(self.headers[0]), 8, min(widths[0], width - sum(widths[1:]) - 2 * (len(widths) - 1)))
        rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
        lines = [*textwrap.wrap(self.title, width), _line(self.headers, widths), rule]
        for index, row in enumerate(self.rows):
            if self.total and index == len(self.rows) - 1 and index:
                lines.append(rule)
            lines.append(_line(row, widths))
        for note in self.notes:
            lines += textwrap.wrap(note, width, subsequent_indent="  ")
        return "\n".join(lines)

    def to_rich(self) -> Group:
        """The same for rich's console: it takes the width of the terminal."""
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(
            title=self.title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0)
        )
        for index, column in enumerate(zip(self.headers, *self.rows, strict=True)):
            # Figures keep their width; a narrow terminal shortens the names.
            narrowest = max(map(columns_of, column)) if index else None
            table.add_column(column[0], justify="right" if index else "left", no_wrap=True, min_width=narrowest)
        for index, row in enumerate(self.rows):
            sums_up = self.total and index == len(self.rows) - 1
            before_sum = self.total and index == len(self.rows) - 2
            table.add_row(*map(Text, row), style="bold" if sums_up else None, end_section=before_sum)
        return Group(table, *(Text(note, style="dim") for note in self.notes))

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
