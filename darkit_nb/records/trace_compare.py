"""Two traces side by side: which modules are the same, which changed and in what, which are new and which are gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from darkit_nb.errors import ModelError
from darkit_nb.records.trace import SCHEMA, ModelTrace
from darkit_nb.records.trace_node import SpikeFacts, TraceNode

RowState = Literal["same", "changed", "new", "gone"]
STATES: tuple[RowState, ...] = ("same", "changed", "new", "gone")


@dataclass(frozen=True, kw_only=True)
class ComparedRow:
    """A module of one or both traces.

    Attributes:
        path: dotted name.
        before, after: its rows in the two traces; None where it is not there.
        state: of the module itself. It is "same" where only what is below it differs.
        changed: names of what differs, in the order of `FIELDS`; sums over the submodules among them.
        below: how many modules in it are changed, new or gone.
    """

    path: str
    before: int | None
    after: int | None
    state: RowState
    changed: tuple[str, ...] = ()
    below: int = 0

    @property
    def affected(self) -> bool:
        """Changed only in how it fires: as a consequence of what changed elsewhere, or of other weights."""
        own = set(self.changed) - (SUMS if self.below else set())
        return self.state == "changed" and own <= MEASURED


@dataclass(frozen=True, eq=False)
class TraceComparison:
    """Two traces and the rows of both.

    Attributes:
        before, after: the traces.
        rows: every module once, each before its submodules: in the order of `before`, and what is new behind the
            sibling it follows.
    """

    before: ModelTrace
    after: ModelTrace
    rows: tuple[ComparedRow, ...]

    @cached_property
    def index(self) -> dict[str, int]:
        """Place of each path among the rows."""
        return {row.path: place for place, row in enumerate(self.rows)}

    def row(self, path: str) -> ComparedRow:
        """The row of a module.

        Raises:
            ModelError: neither trace has it.
        """
        if path not in self.index:
            raise ModelError(
                "Neither of the two models has such a module.", expected="a dotted name", received=repr(path)
            )
        return self.rows[self.index[path]]

    @cached_property
    def parents(self) -> tuple[int, ...]:
        """Place of the row around each; −1 for the model."""
        return (-1, *(self.index[row.path.rpartition(".")[0]] for row in self.rows[1:]))

    @property
    def counts(self) -> dict[RowState, int]:
        """How many rows are in each state."""
        found = Counter(row.state for row in self.rows)
        return {state: found[state] for state in STATES}

    @property
    def notes(self) -> tuple[str, ...]:
        """What makes the two hard to compare, in sentences."""
        before, after = self.before, self.after
        notes = []
        if _tensors(before.root.inputs) != _tensors(after.root.inputs):
            notes.append("The two were run on inputs of different shapes, so shapes and operations differ throughout.")
        if before.device != after.device:
            notes.append(f"Before on {before.device}, after on {after.device}.")
        for name, trace in (("before", before), ("after", after)):
            if trace.problem:
                place = f" in {trace.failed}" if trace.failed else ""
                notes.append(f"The forward of the model {name} failed{place}: what follows never ran.")
        return tuple(notes)

    @cached_property
    def merged(self) -> ModelTrace:
        """One tree of all rows: modules as they are after, and those that are gone as they were before."""
        nodes = tuple(
            self.before.nodes[row.before or 0] if row.after is None else self.after.nodes[row.after]
            for row in self.rows
        )
        return ModelTrace(model=self.after.model, device=self.after.device, nodes=nodes)


def compare_traces(before: ModelTrace, after: ModelTrace) -> TraceComparison:
    """Compare two traces of a model, as before and after an edit, or of a float model and its spiking twin.

    Modules are matched by their dotted names, the models themselves with each other. Seconds and memory are not
    compared, as no two measurements agree, nor is an energy or a firing rate that is not known on both sides.

    Args:
        before: the trace to start from.
        after: the trace to compare with it.
    """
    found = [_compared(before, after, pair) for pair in _pairs(before, after)]
    place = {row.path: at for at, row in enumerate(found)}
    below = [0] * len(found)
    for at in range(len(found) - 1, -1, -1):
        row = found[at]
        # A sum that differs while everything below is the same was changed by the module itself.
        own = bool(row.changed) and (not below[at] or any(name not in SUMS for name in row.changed))
        state = "changed" if row.state == "same" and own else row.state
        found[at] = ComparedRow(
            path=row.path, before=row.before, after=row.after, state=state, changed=row.changed, below=below[at]
        )
        if at:
            below[place[row.path.rpartition(".")[0]]] += below[at] + (state != "same")
    return TraceComparison(before, after, tuple(found))


def to_wire(comparison: TraceComparison) -> dict[str, Any]:
    """Plain data for JSON, to go beside the wires of the two traces.

    `before`, `after` and `parent` hold a row each, −1 for none; `state` an index into `states`; `below` the number of
    differing modules inside; `changed` the places of the rows that differ, by field; `affected` those of the rows that
    only fire differently.
    """
    changed: dict[str, list[int]] = {}
    for place, row in enumerate(comparison.rows):
        for name in row.changed:
            changed.setdefault(name, []).append(place)
    return {
        "schema": SCHEMA,
        "states": list(STATES),
        "before": [-1 if row.before is None else row.before for row in comparison.rows],
        "after": [-1 if row.after is None else row.after for row in comparison.rows],
        "parent": list(comparison.parents),
        "state": [STATES.index(row.state) for row in comparison.rows],
        "below": [row.below for row in comparison.rows],
        "changed": changed,
        "affected": [place for place, row in enumerate(comparison.rows) if row.affected],
        "notes": list(comparison.notes),
    }


# -- what differs ----------------------------------------------------------------------------------------------------


def _tensors(specs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple((spec.shape, spec.dtype) for spec in specs)


def _source(node: TraceNode) -> tuple[Any, ...]:
    # Without the folder, which is another one on another machine.
    name = node.file.replace("\\", "/").rpartition("/")[2]
    return name, node.line, node.end_line, node.forward_line


def _code(facts: SpikeFacts | None) -> tuple[Any, ...] | None:
    return None if facts is None else (facts.num_levels, facts.num_steps, facts.coding, facts.signed, facts.weight_bits)


FIELDS: Mapping[str, Callable[[TraceNode], Any]] = {
    "class_name": lambda node: node.class_name,
    "module": lambda node: node.module,
    "source": _source,
    "signature": lambda node: node.signature,
    "calls": lambda node: (node.calls, node.calls_per_parent),
    "aliases": lambda node: node.aliases,
    "stateful": lambda node: node.stateful,
    "inputs": lambda node: (_tensors(node.inputs), node.shapes_vary),
    "outputs": lambda node: _tensors(node.outputs),
    "spikes": lambda node: _code(node.spikes),
    "own_parameters": lambda node: (node.own_parameters, node.tied),
    "own_flops": lambda node: node.own_flops,
    "own_energy_pj": lambda node: node.own_energy_pj,
    "problem": lambda node: node.problem,
    "parameters": lambda node: node.parameters,
    "trainable": lambda node: node.trainable,
    "parameter_bytes": lambda node: node.parameter_bytes,
    "buffer_bytes": lambda node: node.buffer_bytes,
    "flops": lambda node: node.flops,
    "energy_pj": lambda node: node.energy_pj,
}
"""What is compared of two modules, by the name a difference is reported under; `firing_rate` comes last."""

SUMS = frozenset(("parameters", "trainable", "parameter_bytes", "buffer_bytes", "flops", "energy_pj", "firing_rate"))
"""Fields that may differ because of a submodule."""

MEASURED = frozenset(("firing_rate", "own_energy_pj", "energy_pj"))
"""Fields that depend on the values that passed, and not on the module alone."""

_MAY_BE_UNKNOWN = frozenset(("own_energy_pj", "energy_pj"))


def _compared(before: ModelTrace, after: ModelTrace, pair: tuple[str, int | None, int | None]) -> ComparedRow:
    path, row, other = pair
    if row is None or other is None:
        return ComparedRow(path=path, before=row, after=other, state="new" if row is None else "gone")
    changed = [name for name, value in FIELDS.items() if _differ(name, value, before.nodes[row], after.nodes[other])]
    rates = before.firing_rate(row), after.firing_rate(other)
    if rates[0] != rates[1] and not (_uncounted(before, row) or _uncounted(after, other)):
        changed.append("firing_rate")
    return ComparedRow(path=path, before=row, after=other, state="same", changed=tuple(changed))


def _differ(name: str, value: Callable[[TraceNode], Any], before: TraceNode, after: TraceNode) -> bool:
    old, new = value(before), value(after)
    if name in _MAY_BE_UNKNOWN and (old is None or new is None):
        return False
    return old != new


def _uncounted(trace: ModelTrace, row: int) -> bool:
    """Whether something in it spikes and nothing was counted, as on the meta device."""
    spiking = any(node.spikes is not None for node in trace.nodes[row : trace.ends[row]])
    return spiking and trace.firing_rate(row) is None


# -- the rows of both ------------------------------------------------------------------------------------------------


def _pairs(before: ModelTrace, after: ModelTrace) -> list[tuple[str, int | None, int | None]]:
    """Every path with its rows, in order."""
    found: list[tuple[str, int | None, int | None]] = []
    stack: list[tuple[str, int | None, int | None]] = [("", 0, 0)]
    while stack:
        path, row, other = stack.pop()
        found.append((path, row, other))
        old, new = _children(before, row), _children(after, other)
        stack += [(name, old.get(name), new.get(name)) for name in reversed(_merged(list(old), list(new)))]
    return found


def _children(trace: ModelTrace, row: int | None) -> dict[str, int]:
    return {} if row is None else {trace.nodes[child].path: child for child in trace.children(row)}


def _merged(old: list[str], new: list[str]) -> list[str]:
    """Names of both: those of `old` in their order, each further one of `new` behind the one it follows there."""
    known, followers, last = set(old), dict[str, list[str]](), ""
    for name in new:
        if name in known:
            last = name
        else:
            followers.setdefault(last, []).append(name)
    merged = followers.get("", [])
    for name in old:
        merged += [name, *followers.get(name, ())]
    return merged
