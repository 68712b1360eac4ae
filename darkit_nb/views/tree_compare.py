"""Two model trees as one, differences marked: as text, and through `tree_compare_html` as a page."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from darkit_nb.records.trace_compare import RowState, TraceComparison
from darkit_nb.views.table import WIDTH
from darkit_nb.views.table import columns_of as text_width
from darkit_nb.views.tree_compare_html import comparison_html
from darkit_nb.views.tree_compare_rows import (
    ARROW,
    ComparedLine,
    compared_columns,
    compared_lines,
    headline,
    notes_of,
    totals,
)
from darkit_nb.views.tree_text import branches_of, fitted, marks_of

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.text import Text

_STYLES: dict[RowState, str] = {"same": "dim", "changed": "yellow", "new": "green", "gone": "red strike"}
_NARROWEST = 24


@dataclass(frozen=True)
class TreeComparisonView:
    """Two compared traces as one tree.

    Attributes:
        comparison: from `compare_traces`.
        depth: deepest level shown; all by default.
        fold: neighbouring blocks that differ alike as one row.
        only_changed: leave out what is the same.
    """

    comparison: TraceComparison
    depth: int | None = None
    fold: bool = True
    only_changed: bool = False

    def to_text(self, width: int = 2 * WIDTH) -> str:
        """Plain text of at most `width` columns; columns that do not fit are left out, the last ones first."""
        return "\n".join("".join(text for text, _ in line).rstrip() for line in self._text(width))

    def to_html(self) -> str:
        """A tree that folds by itself, without any script."""
        return comparison_html(self.comparison, depth=self.depth, fold=self.fold, only_changed=self.only_changed)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """The same for `rich.print`, in colour and in the width of the terminal."""
        from rich.text import Text

        for line in self._text(options.max_width):
            yield Text.assemble(*((text, style) for text, style in line), no_wrap=True, overflow="ellipsis")

    def __str__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        return self.to_html()

    def _text(self, width: int) -> Iterator[list[tuple[str, str]]]:
        """Lines from top to bottom, each as pieces with a style."""
        yield from ([(line, "bold")] for line in textwrap.wrap(headline(self.comparison), width))
        sums = " · ".join(_sum(*total) for total in totals(self.comparison))
        yield from ([(line, "")] for line in textwrap.wrap(sums, width))
        yield from self._tree(width)
        for note in notes_of(self.comparison, only_changed=self.only_changed):
            yield from ([(text, "dim")] for text in textwrap.wrap(note, width, subsequent_indent="  "))

    def _tree(self, width: int) -> Iterator[list[tuple[str, str]]]:
        lines = compared_lines(self.comparison, depth=self.depth, fold=self.fold, only_changed=self.only_changed)
        columns = compared_columns(lines)
        table = [[column.header for column in columns] + ["also"]]
        table += [[*(line.cell(column) for column in columns), line.words(columns)] for line in lines]
        if not any(row[-1] for row in table[1:]):
            table = [row[:-1] for row in table]
        widths = [max(map(text_width, cells)) for cells in zip(*table, strict=True)]
        names = [[("  module", "dim")], *map(_name, lines)]
        longest = max(text_width("".join(text for text, _ in name)) for name in names)
        first = max(_NARROWEST, min(longest, width // 2), min(longest, width - sum(widths) - 2 * len(widths)))
        while widths and first + sum(widths) + 2 * len(widths) > width:
            widths.pop()
        for place, (name, row) in enumerate(zip(names, table, strict=True)):
            cells = "".join(f"  {' ' * (size - text_width(text))}{text}" for text, size in zip(row, widths))  # noqa: B905 - the last ones may not fit
            line = lines[place - 1] if place else None
            style = "dim" if line is None else "" if line.below or line.affected else _STYLES[line.state]
            yield [*fitted(name, min(first, width)), (cells, style)]
            problem = line and line.row.problem
            if problem:
                yield from ([(text, "red")] for text in textwrap.wrap(f"✗ {problem}", width, initial_indent="    "))


def _name(line: ComparedLine) -> list[tuple[str, str]]:
    style = "cyan" if line.affected else _STYLES[line.state]
    mark = marks_of(line.row)
    kind = f" {line.kind}" if line.row.depth or ARROW in line.kind else ""
    return [
        (f"{line.sign} ", style),
        (branches_of(line.row), "dim"),
        (line.row.name, f"bold {style}" if line.state != "same" else ""),
        (kind, style if line.state != "same" else "dim"),
        (f" {mark}" if mark else "", "cyan"),
    ]


def _sum(name: str, before: str, after: str, change: str) -> str:
    if before == after:
        return f"{name} {before}"
    return f"{name} {before} {ARROW} {after}" + (f" ({change})" if change else "")
