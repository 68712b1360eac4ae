"""A model tree as text, for terminals and logs; `tree_html` has it as a page."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from darkit_nb.records.trace import ModelTrace
from darkit_nb.views.table import WIDTH
from darkit_nb.views.table import columns_of as text_width
from darkit_nb.views.tree_columns import Heat, calls_mark, columns_of, headline, heat_column, notes_of
from darkit_nb.views.tree_html import tree_html
from darkit_nb.views.tree_rows import TreeRow, tree_rows

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.text import Text

BAR = 6
"""Columns of the heat bar."""

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_STYLES = {"spiking": "magenta", "neuron": "magenta", "container": "dim"}


@dataclass(frozen=True)
class TreeView:
    """A traced model as a tree.

    Attributes:
        trace: what was traced.
        depth: deepest level shown; all by default.
        fold: identical siblings as one row, marked with how many they are.
        heat: quantity whose share is drawn as a bar; energy where it is known, else parameters.
    """

    trace: ModelTrace
    depth: int | None = None
    fold: bool = True
    heat: Heat | None = None

    def to_text(self, width: int = 2 * WIDTH) -> str:
        """Plain text of at most `width` columns; columns that do not fit are left out, the last ones first."""
        return "\n".join("".join(text for text, _ in line).rstrip() for line in self._lines(width))

    def to_html(self) -> str:
        """A tree that folds by itself, without any script."""
        return tree_html(self.trace, depth=self.depth, fold=self.fold, heat=self.heat)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """The same for `rich.print`, in colour and in the width of the terminal."""
        from rich.text import Text

        for line in self._lines(options.max_width):
            yield Text.assemble(*((text, style) for text, style in line), no_wrap=True, overflow="ellipsis")

    def __str__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        return self.to_html()

    def _lines(self, width: int) -> Iterator[list[tuple[str, str]]]:
        """Lines from top to bottom, each as pieces with a style."""
        rows = tree_rows(self.trace, depth=self.depth, fold=self.fold)
        columns, heat = columns_of(self.trace), heat_column(self.trace, self.heat)
        cells = [[column.cell(row) for column in columns] for row in rows]
        widths = [max(len(column.header), *(len(line[at]) for line in cells)) for at, column in enumerate(columns)]
        names = [_name(row) for row in rows]
        longest = max(text_width("".join(text for text, _ in name)) for name in names)
        first = max(24, min(longest, width - sum(widths) - 2 * len(widths) - BAR - 1))
        while columns and first + sum(widths) + 2 * len(widths) + BAR + 1 > width:
            columns, widths = columns[:-1], widths[:-1]
        yield from ([(line, "bold")] for line in textwrap.wrap(headline(self.trace), width))
        head = "  ".join(column.header.rjust(size) for column, size in zip(columns, widths, strict=True))
        yield [(f"{'module':{first}}  {head}  {heat.header if heat not in columns else ''}".rstrip(), "dim")]
        for row, name, line in zip(rows, names, cells, strict=True):
            numbers = "  ".join(cell.rjust(size) for cell, size in zip(line, widths, strict=False))
            bar = _bar(heat.heat(row, rows[0])) if row.depth else ""
            pieces = [*fitted(name, first), (f"  {numbers} ", "red" if row.problem else ""), (bar, "yellow")]
            yield pieces
            if row.problem:
                indent = " " * (3 * row.depth)
                yield from (
                    [(text, "red")]
                    for text in textwrap.wrap(
                        f"✗ {row.problem}", width, initial_indent=indent, subsequent_indent=f"{indent}  "
                    )
                )
        for note in notes_of(self.trace):
            yield from ([(text, "dim")] for text in textwrap.wrap(note, width, subsequent_indent="  "))


def _name(row: TreeRow) -> list[tuple[str, str]]:
    mark = marks_of(row)
    ran = row.node.calls or row.node.kind == "container" or not row.trace.ran
    style = "bold red" if row.problem else _STYLES.get(row.node.kind, "" if ran else "dim strike")
    kind = "" if row.depth == 0 else f" {row.node.class_name}"
    return [(branches_of(row), "dim"), (row.name, style), (kind, "dim"), (f" {mark}" if mark else "", "cyan")]


def branches_of(row: TreeRow) -> str:
    """The lines that lead to a row."""
    branches = "".join("   " if last else "│  " for last in row.last[:-1])
    return branches + (("└─ " if row.last[-1] else "├─ ") if row.last else "")


def marks_of(row: TreeRow) -> str:
    """How many identical rows it stands for, how often it runs, and how much it hides."""
    marks = [f"×{row.repeat}" if row.repeat > 1 else "", calls_mark(row), f"+{row.hidden:,}" if row.hidden else ""]
    return " ".join(part for part in marks if part)


def fitted(pieces: list[tuple[str, str]], width: int) -> list[tuple[str, str]]:
    """Pieces of text with their styles, of exactly `width` columns."""
    left, found = width, []
    for text, style in pieces:
        if text_width(text) > left:
            found.append((text[: max(0, left - 1)] + "…" * (left > 0), style))
            left = 0
            break
        found.append((text, style))
        left -= text_width(text)
    return [*found, (" " * left, "")]


def _bar(share: float) -> str:
    eighths = round(share * BAR * 8)
    if share > 0:
        eighths = max(1, eighths)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
