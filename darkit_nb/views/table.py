"""A table between record and screen: plain data that lowers to text, to rich text, and to static HTML."""

from __future__ import annotations

import html
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

    def to_html(self) -> str:
        """A static table with inline styles, in the colours of the page around it; it scrolls where it is too wide."""
        head = "".join(_cell("th", text, index, "opacity:.75;") for index, text in enumerate(self.headers))
        body = "".join(
            f"<tr>{''.join(_cell('td', text, index, self._weight(number)) for index, text in enumerate(row))}</tr>"
            for number, row in enumerate(self.rows)
        )
        notes = "".join(f'<div style="opacity:.7;margin-top:4px">{html.escape(note)}</div>' for note in self.notes)
        return (
            f'<div style="font:13px/1.5 system-ui,sans-serif;overflow-x:auto"><b>{html.escape(self.title)}</b>'
            f'<table style="border-collapse:collapse;margin:4px 0;font-variant-numeric:tabular-nums">'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}</div>"
        )

    def _weight(self, row: int) -> str:
        return "font-weight:600;" if self.total and row == len(self.rows) - 1 else ""

    def __str__(self) -> str:
        return self.to_text()


def columns_of(text: str) -> int:
    """Columns a text takes on a terminal, where wide letters take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _cell(tag: str, text: str, column: int, style: str) -> str:
    side = "right" if column else "left"
    border = "border-bottom:1px solid rgba(128,128,128,.35)"
    return f'<{tag} style="{style}text-align:{side};padding:2px 12px 2px 0;{border}">{html.escape(text)}</{tag}>'


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    first, width = cells[0], widths[0]
    if columns_of(first) > width:
        first = "…" + first[-(width - 1) :]
    padded = [first + " " * (width - columns_of(first))]
    padded += [" " * (width - columns_of(cell)) + cell for cell, width in zip(cells[1:], widths[1:], strict=True)]
    return "  ".join(padded).rstrip()
