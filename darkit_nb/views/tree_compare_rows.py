"""The rows of two compared trees: which are shown, what stands in them, and the sums of both."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from darkit_nb.records.trace import ModelTrace
from darkit_nb.records.trace_compare import SUMS, ComparedRow, RowState, TraceComparison
from darkit_nb.records.trace_node import TraceNode
from darkit_nb.views.numbers import energy, percent, short
from darkit_nb.views.tree_columns import COLUMNS, Column, bytes_text, time_text
from darkit_nb.views.tree_rows import TreeRow, row_shapes, tree_rows

SIGNS: dict[RowState, str] = {"same": " ", "changed": "~", "new": "+", "gone": "−"}
"""What marks a row beside its colour."""

AFFECTED = "≈"
"""Marks a row that only fires differently."""

INSIDE = "·"
"""Marks a row that is the same and has differences in it."""

ARROW = "→"

_WORDS = {
    "source": "source",
    "signature": "signature",
    "module": "module",
    "calls": "calls",
    "aliases": "shared",
    "stateful": "state",
    "inputs": "input",
    "outputs": "output",
    "own_energy_pj": "energy",
    "trainable": "trainable",
    "parameter_bytes": "bytes",
    "buffer_bytes": "buffers",
    "problem": "failure",
}
_TOTALS: tuple[tuple[str, Callable[[Any], str], str], ...] = (
    ("parameters", short, "parameters"),
    ("trainable", short, "trainable"),
    ("size", bytes_text, "parameter_bytes"),
    ("MACs", short, "macs"),
    ("energy", energy, "energy_pj"),
    ("time", time_text, "seconds"),
    ("memory", bytes_text, "memory_bytes"),
)
_SHOWN_BY = {"output": "shape", "energy": "energy", "bytes": "parameters"}


@dataclass(frozen=True, eq=False)
class ComparedLine:
    """One line of the comparison.

    Attributes:
        row: the line in the tree of both.
        state: of the modules it stands for.
        affected: whether they only fire differently.
        below: how many modules in each of them differ.
        changed: fields that differ.
        before, after: the same line in each trace; None where it is not there.
    """

    row: TreeRow
    state: RowState
    affected: bool
    below: int
    changed: tuple[str, ...]
    before: TreeRow | None
    after: TreeRow | None

    @property
    def sign(self) -> str:
        """What marks it."""
        if self.affected:
            return AFFECTED
        return INSIDE if self.state == "same" and self.below else SIGNS[self.state]

    @property
    def kind(self) -> str:
        """Its class, or both classes."""
        old, new = _node(self.before), _node(self.after)
        if old is None or new is None or old.class_name == new.class_name:
            return self.row.node.class_name
        return f"{old.class_name} {ARROW} {new.class_name}"

    def cell(self, column: Column) -> str:
        """What a column says: one value where both are the same, else both with an arrow."""
        texts = [column.cell(each) for each in (self.before, self.after) if each is not None]
        if len(set(texts)) == 1:
            return texts[0]
        return f" {ARROW} ".join(text or "–" for text in texts)

    def words(self, columns: list[Column]) -> str:
        """What differs of the module itself beyond the class, with all that comes with it, and the columns shown."""
        implied = {"source", "signature", "module"} if "class_name" in self.changed else set[str]()
        implied |= {"module"} if "source" in self.changed else set()
        own = [name for name in self.changed if name not in implied and not (self.below and name in SUMS)]
        shown = {column.key for column in columns}
        words = dict.fromkeys(_WORDS[name] for name in own if name in _WORDS)
        return ", ".join(word for word in words if _SHOWN_BY.get(word) not in shown) if self.state == "changed" else ""


def compared_lines(
    comparison: TraceComparison, *, depth: int | None = None, fold: bool = True, only_changed: bool = False
) -> list[ComparedLine]:
    """Lines from top to bottom.

    Args:
        comparison: two traces.
        depth: deepest level shown; all by default.
        fold: show neighbouring blocks that differ alike as one line.
        only_changed: leave out what is the same and has no difference in it.
    """
    rows, shapes = comparison.rows, row_shapes(comparison.before)

    def tell(place: int) -> object:
        row = rows[place]
        return row.state, row.changed, None if row.before is None else shapes[row.before]

    def keep(place: int) -> bool:
        return not only_changed or rows[place].state != "same" or rows[place].below > 0

    found = tree_rows(comparison.merged, depth=depth, fold=fold, tell=tell, keep=keep)
    return [_line(comparison, row) for row in found]


def compared_columns(lines: list[ComparedLine]) -> list[Column]:
    """The columns in which anything differs."""
    return [column for column in COLUMNS if any(_differs(line, column) for line in lines)]


def totals(comparison: TraceComparison) -> list[tuple[str, str, str, str]]:
    """Name, before, after and change of each sum over the whole model, unknown ones left out."""
    roots = comparison.before.root, comparison.after.root
    found = [_total(name, write, *(getattr(root, field) for root in roots)) for name, write, field in _TOTALS]
    rates = [trace.firing_rate(0) for trace in (comparison.before, comparison.after)]
    fires, points = _total("fires", percent, *rates), _points(*rates)
    found.insert(4, (*fires[:3], points))
    known = [total for total in found if total[1] != "–" or total[2] != "–"]
    return [total for total in known if total[0] != "trainable" or total[1] != total[2]]


def headline(comparison: TraceComparison) -> str:
    """Both models and how many modules differ, in one line."""
    before, after = (_whose(trace) for trace in (comparison.before, comparison.after))
    names = before if before == after else f"{before} {ARROW} {after}"
    counts = comparison.counts
    affected = sum(row.affected for row in comparison.rows)
    differing = [
        f"{number:,} {word}"
        for number, word in (
            (counts["changed"] - affected, "changed"),
            (counts["new"], "new"),
            (counts["gone"], "gone"),
            (affected, "firing differently"),
        )
        if number
    ]
    same = f"{counts['same']:,} the same" if differing else f"all {counts['same']:,} modules are the same"
    return " · ".join([names, *differing, same])


def notes_of(comparison: TraceComparison, *, only_changed: bool) -> list[str]:
    """What a reader should know."""
    same = comparison.counts["same"]
    hidden = sum(1 for row in comparison.rows[1:] if row.state == "same" and not row.below)
    signs = ", ".join(f"{SIGNS[state]} {state}" for state in ("changed", "new", "gone"))
    signs += f", {AFFECTED} fires differently" if any(row.affected for row in comparison.rows) else ""
    notes = [f"{signs}; {INSIDE} the same, with differences in it."] if same < len(comparison.rows) else []
    notes += [f"{hidden:,} modules that are the same are not shown."] if only_changed and hidden else []
    return [*notes, *comparison.notes]


def _whose(trace: ModelTrace) -> str:
    spiking = any(node.spikes is not None for node in trace.nodes)
    return f"{trace.model} {'spiking' if spiking else 'float'}"


def _total(
    name: str, write: Callable[[Any], str], before: float | None, after: float | None
) -> tuple[str, str, str, str]:
    texts = ["–" if value is None else write(value) or "0" for value in (before, after)]
    return name, texts[0], texts[1], _change(before, after) if texts[0] != texts[1] else ""


def _change(before: float | None, after: float | None) -> str:
    """How much more or less, as +20 % or ×12; nothing where that has no meaning or is not worth saying."""
    if not before or after is None or before == after:
        return ""
    ratio = after / before
    if ratio >= 10:
        return f"×{short(ratio)}"
    if 0 < ratio <= 0.1:
        return f"÷{short(1 / ratio)}"
    return f"{100 * (ratio - 1):+.1f} %".replace("-", "−")


def _points(before: float | None, after: float | None) -> str:
    """The difference of two shares in percentage points: a percentage of a percentage is easily misread."""
    if before is None or after is None or before == after:
        return ""
    return f"{100 * (after - before):+.1f} points".replace("-", "−")


def _line(comparison: TraceComparison, row: TreeRow) -> ComparedLine:
    compared: list[ComparedRow] = [comparison.rows[place] for place in row.rows]
    first = compared[0]
    return ComparedLine(
        row=row,
        state=first.state,
        affected=first.affected,
        below=first.below,
        changed=first.changed,
        before=_side(comparison.before, row, [each.before for each in compared]),
        after=_side(comparison.after, row, [each.after for each in compared]),
    )


def _side(trace: ModelTrace, row: TreeRow, places: list[int | None]) -> TreeRow | None:
    known = tuple(place for place in places if place is not None)
    return dataclasses.replace(row, trace=trace, rows=known) if known else None


def _differs(line: ComparedLine, column: Column) -> bool:
    if line.before is None or line.after is None:
        return column.key in ("parameters", "flops") and bool(line.cell(column))
    return column.cell(line.before) != column.cell(line.after)


def _node(row: TreeRow | None) -> TraceNode | None:
    return None if row is None else row.node
