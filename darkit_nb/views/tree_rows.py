"""The rows of a model tree that are shown: to a depth, identical siblings as one, and what each row sums up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from darkit_nb.records.trace import ModelTrace
from darkit_nb.records.trace_node import TraceNode


@dataclass(frozen=True, eq=False)
class TreeRow:
    """One line of the tree.

    Attributes:
        trace: where it comes from.
        rows: rows of the trace it stands for; more than one where identical siblings are folded.
        name: what to call it, as `layers` or `0 … 11`.
        depth: levels below the model.
        repeat: identical siblings it stands for, itself included.
        last: whether no sibling follows, for it and each row above it, the model left out.
        hidden: modules below it that are not shown.
        parent: place of the row above it among the shown rows; −1 for the model.
    """

    trace: ModelTrace
    rows: tuple[int, ...]
    name: str
    depth: int
    repeat: int
    last: tuple[bool, ...]
    hidden: int
    parent: int

    @property
    def node(self) -> TraceNode:
        """The first module it stands for."""
        return self.trace.nodes[self.rows[0]]

    @property
    def problem(self) -> str | None:
        """What went wrong in it, or in one of those it stands for."""
        return next((text for row in self.rows if (text := self.trace.nodes[row].problem)), None)

    @cached_property
    def parameters(self) -> int:
        """Numbers of all modules it stands for."""
        return sum(self.trace.nodes[row].parameters for row in self.rows)

    @cached_property
    def flops(self) -> int:
        """Operations of all modules it stands for."""
        return sum(self.trace.nodes[row].flops for row in self.rows)

    @cached_property
    def energy_pj(self) -> float | None:
        """Picojoule of all modules it stands for; None where one is not known."""
        found = [self.trace.nodes[row].energy_pj for row in self.rows]
        known = [each for each in found if each is not None]
        return sum(known) if len(known) == len(found) else None

    @cached_property
    def seconds(self) -> float | None:
        """Seconds of all modules it stands for; None where they were not measured."""
        known = [each for row in self.rows if (each := self.trace.nodes[row].seconds) is not None]
        return sum(known) if known else None

    @cached_property
    def memory_bytes(self) -> int | None:
        """The most of the modules it stands for; None where it was not measured."""
        known = [each for row in self.rows if (each := self.trace.nodes[row].memory_bytes) is not None]
        return max(known) if known else None

    @cached_property
    def firing_rate(self) -> float | None:
        """Share of the slots of everything in it that hold a spike."""
        slots = sum(self.trace.spike_total(row, "slots") for row in self.rows)
        active = sum(self.trace.spike_total(row, "active_slots") for row in self.rows)
        return active / slots if slots else None


def tree_rows(
    trace: ModelTrace,
    *,
    depth: int | None = None,
    fold: bool = True,
    tell: Callable[[int], object] = lambda row: None,
    keep: Callable[[int], bool] = lambda row: True,
) -> list[TreeRow]:
    """Rows from top to bottom.

    Args:
        trace: what was traced.
        depth: deepest level shown; all by default.
        fold: show neighbouring blocks of a stack that differ in nothing but their values as one row.
        tell: something of a row that must be equal, too, where rows are shown as one.
        keep: which rows are shown; nothing in a row that is not.
    """
    shapes = row_shapes(trace, tell) if fold else []
    found: list[TreeRow] = []

    def alike(row: int, other: int) -> bool:
        # Blocks of a stack have places for names; other siblings would lose theirs.
        numbered = trace.nodes[row].name.isdigit() and trace.nodes[other].name.isdigit()
        return fold and numbered and shapes[row] == shapes[other]

    def groups(rows: tuple[int, ...]) -> list[list[tuple[int, ...]]]:
        """Children of a row, each as the rows it stands for, in groups of identical ones."""
        children = [child for child in zip(*(trace.children(row) for row in rows), strict=True) if keep(child[0])]
        together: list[list[tuple[int, ...]]] = []
        for child in children:
            if together and alike(together[-1][0][0], child[0]):
                together[-1].append(child)
            else:
                together.append([child])
        return together

    stack: list[tuple[list[tuple[int, ...]], int, tuple[bool, ...], int]] = [([(0,)], 0, (), -1)]
    while stack:
        group, level, last, parent = stack.pop()
        rows = tuple(row for each in group for row in each)
        below = trace.ends[rows[0]] - rows[0] - 1
        shown = depth is None or level < depth
        name = trace.nodes[group[0][0]].name
        if len(group) > 1:
            name = f"{name} … {trace.nodes[group[-1][0]].name}"
        found.append(TreeRow(trace, rows, name, level, len(group), last, 0 if shown else below, parent))
        if shown:
            place, inner = len(found) - 1, groups(rows)
            for index in range(len(inner) - 1, -1, -1):
                stack.append((inner[index], level + 1, (*last, index == len(inner) - 1), place))
    return found


def row_shapes(trace: ModelTrace, tell: Callable[[int], object] = lambda row: None) -> list[int]:
    """A number for every row; equal numbers stand for subtrees that differ in names and values only."""
    numbers: dict[object, int] = {}
    found = [0] * len(trace.nodes)
    plain: Callable[[tuple], tuple] = lambda specs: tuple((spec.shape, spec.dtype) for spec in specs)  # noqa: E731
    for row in range(len(trace.nodes) - 1, -1, -1):
        node = trace.nodes[row]
        spikes = node.spikes and (node.spikes.num_levels, node.spikes.num_steps, node.spikes.coding)
        own = (node.class_name, node.calls, plain(node.inputs), plain(node.outputs), node.own_parameters, node.problem)
        below = tuple((trace.nodes[child].name, found[child]) for child in trace.children(row))
        found[row] = numbers.setdefault((own, node.own_flops, spikes, below, tell(row)), len(numbers))
    return found
