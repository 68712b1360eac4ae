"""The columns of a model tree: what each says of a row, and how strongly it colours it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from darkit_nb.records.trace import ModelTrace
from darkit_nb.records.trace_node import TensorSpec
from darkit_nb.views.numbers import energy, percent, short, significant
from darkit_nb.views.tree_rows import TreeRow

Heat = Literal["energy", "parameters", "flops", "firing", "seconds"]


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        key: stable name.
        header: what stands above it.
        cell: the words for a row.
        value: the number behind them, None where there is none.
        whole: the value is a share of everything as it is; otherwise it is compared with the model's.
    """

    key: str
    header: str
    cell: Callable[[TreeRow], str]
    value: Callable[[TreeRow], float | None]
    whole: bool = False

    def heat(self, row: TreeRow, root: TreeRow) -> float:
        """How much of the model's value a row has, 0 to 1."""
        value, most = self.value(row), 1.0 if self.whole else self.value(root)
        return min(1.0, value / most) if value and most else 0.0


COLUMNS: tuple[Column, ...] = (
    Column("shape", "output", lambda row: output_shape(row), lambda row: None),
    Column("parameters", "parameters", lambda row: _or_blank(row.parameters), lambda row: row.parameters),
    Column("flops", "MACs", lambda row: _or_blank(row.flops // 2), lambda row: row.flops),
    Column("spikes", "spikes", lambda row: spike_code(row), lambda row: None),
    Column(
        "firing",
        "fires",
        lambda row: "" if row.firing_rate is None else percent(row.firing_rate),
        lambda row: row.firing_rate,
        whole=True,
    ),
    Column("energy", "energy", lambda row: energy(row.energy_pj) if row.energy_pj else "", lambda row: row.energy_pj),
    Column("seconds", "time", lambda row: time_text(row.seconds), lambda row: row.seconds),
    Column("memory", "memory", lambda row: bytes_text(row.memory_bytes), lambda row: row.memory_bytes),
)


def columns_of(trace: ModelTrace) -> list[Column]:
    """The columns that have something to say about a trace."""
    spiking = any(node.spikes is not None for node in trace.nodes)
    counted = any(node.spikes is not None and node.spikes.slots for node in trace.nodes)
    shown = {
        "shape": True,
        "parameters": True,
        "flops": True,
        "spikes": spiking,
        "firing": counted,
        "energy": trace.root.energy_pj is not None,
        "seconds": trace.root.seconds is not None,
        "memory": trace.root.memory_bytes is not None,
    }
    return [column for column in COLUMNS if shown[column.key]]


def heat_column(trace: ModelTrace, heat: Heat | None) -> Column:
    """The column that colours rows: the one asked for if it is known, else energy, else parameters."""
    known = {column.key: column for column in columns_of(trace)}
    return known.get(heat or "energy") or known.get("energy") or known["parameters"]


def output_shape(row: TreeRow) -> str:
    """Shape of what a module returns first, … where there is more."""
    found: tuple[TensorSpec, ...] = row.node.outputs
    if not found:
        return ""
    shape = "×".join(map(str, found[0].shape)) or "scalar"
    return shape + (" …" if len(found) > 1 or row.node.shapes_vary else "")


def spike_code(row: TreeRow) -> str:
    """Levels and steps, as Q16 S2."""
    facts = row.node.spikes
    return "" if facts is None else f"Q{facts.num_levels} S{facts.num_steps}"


def calls_mark(row: TreeRow) -> str:
    """×4 where a module runs more than once in one call of the module around it, or in all."""
    calls = row.node.calls_per_parent or row.node.calls
    return f"×{calls}" if calls > 1 else ""


def row_title(row: TreeRow) -> str:
    """Everything about a row in words, for a tooltip."""
    node = row.node
    parts = [node.path or node.class_name, f"{node.module}.{node.class_name}{node.signature}"]
    parts += [
        f"{side} {spec.name} {spec}"
        for side, specs in (("in", node.inputs), ("out", node.outputs))
        for spec in specs[:4]
    ]
    if node.file:
        parts.append(f"{node.file}:{node.line}")
    if node.aliases:
        parts.append(f"the same module as {', '.join(node.aliases)}")
    if node.tied:
        parts.append(f"{short(node.tied)} parameters shared with a module before it")
    return "\n".join(parts)


def headline(trace: ModelTrace) -> str:
    """The model in one line."""
    root = trace.root
    parts = [f"{trace.model} on {trace.device}"]
    parts += [f"{short(trace.tokens)} tokens"] if trace.tokens else []
    trainable = "" if root.trainable == root.parameters else f", {short(root.trainable)} trainable"
    parts.append(f"{short(root.parameters)} parameters{trainable}")
    parts.append(f"{bytes_text(root.parameter_bytes)}")
    parts += [f"{short(root.macs)} MACs"] if trace.ran else []
    rate = trace.firing_rate(0)
    parts += [] if rate is None else [f"fires {percent(rate)}"]
    parts += [energy(root.energy_pj)] if root.energy_pj else []
    return " · ".join(part for part in parts if part)


def notes_of(trace: ModelTrace) -> list[str]:
    """What a reader should know, the problem first."""
    notes = []
    if trace.problem:
        place = f" in {trace.failed}" if trace.failed else ""
        notes.append(f"The forward failed{place}; what ran until then is shown.")
    never = sum(1 for node in trace.nodes if not node.calls and node.kind != "container")
    if never and trace.ran and not trace.problem:
        notes.append(f"{never:,} modules never ran; they have no shape." if never > 1 else "One module never ran.")
    notes += trace.notes
    if any(node.spikes is not None and node.spikes.slots for node in trace.nodes):
        notes.append(
            "energy: arithmetic of products, additions of unit spikes where a layer spikes and float16 elsewhere; "
            "the energy report adds encoding, memory and the rest."
        )
    return notes


def _or_blank(value: int) -> str:
    return short(value) if value else ""


def time_text(seconds: float | None) -> str:
    """Seconds as 12.3 ms; nothing where they are not known."""
    if seconds is None:
        return ""
    return f"{significant(seconds)} s" if seconds >= 1 else f"{significant(seconds * 1e3)} ms"


def bytes_text(size: int | None) -> str:
    """A size as 1.2 MB; nothing where there is none."""
    if not size:
        return ""
    return f"{short(size)}B" if size >= 1000 else f"{size} B"
