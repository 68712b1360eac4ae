"""A model trace for a browser: columns instead of nested records, every text once. 20 000 rows stay a few megabytes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from darkit_nb.records.trace import SCHEMA, ModelTrace, check_schema
from darkit_nb.records.trace_node import SpikeFacts, TensorSpec, TraceNode

_TEXTS = ("class_name", "module", "kind", "file", "signature")
_PLAIN = tuple(
    info.name
    for info in dataclasses.fields(TraceNode)
    if info.name not in (*_TEXTS, "path", "inputs", "outputs", "aliases", "spikes")
)
_DEFAULTS = {info.name: info.default for info in dataclasses.fields(TraceNode)}
_SPIKES = tuple(info.name for info in dataclasses.fields(SpikeFacts))


def to_wire(trace: ModelTrace) -> dict[str, Any]:
    """Plain data for JSON.

    `texts` holds each string once. `parent` is a row or −1. `columns` has one list a quantity, in the order of the
    rows; a column that is all default is left out, one that is mostly so is `{"rows": …, "values": …}`. The columns
    name, class_name, module, kind, file, signature, inputs and outputs hold indices into `texts`; a text of inputs or
    outputs has a line `name:2,8,64 float32` a tensor. `spikes` has columns of its own, and the `rows` they belong to.
    """
    texts: dict[str, int] = {}

    def text(value: str) -> int:
        return texts.setdefault(value, len(texts))

    columns: dict[str, Any] = {"name": [text(node.path.rpartition(".")[2]) for node in trace.nodes]}
    for name in _TEXTS:
        columns[name] = [text(getattr(node, name)) for node in trace.nodes]
    for name in _PLAIN:
        column = _column([getattr(node, name) for node in trace.nodes], _DEFAULTS[name])
        if column is not None:
            columns[name] = column
    for name in ("inputs", "outputs"):
        columns[name] = [
            text("\n".join(f"{spec.name}:{_tensor(spec)}" for spec in getattr(node, name))) for node in trace.nodes
        ]
    aliases = _column([list(node.aliases) for node in trace.nodes], [])
    columns |= {} if aliases is None else {"aliases": aliases}
    firing = [(row, node.spikes) for row, node in enumerate(trace.nodes) if node.spikes is not None]
    spikes: dict[str, Any] = {"rows": [row for row, _ in firing]}
    spikes |= {name: [getattr(facts, name) for _, facts in firing] for name in _SPIKES}
    return {
        "schema": SCHEMA,
        **{name: getattr(trace, name) for name in ("model", "device", "tokens", "problem", "failed", "notes")},
        "parent": list(trace.parents),
        "columns": columns,
        "spikes": spikes,
        "texts": list(texts),
    }


def from_wire(wire: Mapping[str, Any]) -> ModelTrace:
    """The trace that `to_wire` described.

    Raises:
        ModelError: written by a newer version of this package.
    """
    check_schema(wire)
    texts, parent, columns = wire["texts"], wire["parent"], wire["columns"]
    count = len(parent)
    values = {name: _values(columns.get(name), count, _DEFAULTS[name]) for name in (*_PLAIN, "aliases")}
    firing: dict[int, SpikeFacts] = {}
    for place, row in enumerate(wire["spikes"]["rows"]):
        facts: dict[str, Any] = {name: wire["spikes"][name][place] for name in _SPIKES}
        facts["histogram"] = tuple(facts["histogram"])
        firing[row] = SpikeFacts(**facts)
    paths: list[str] = []
    nodes: list[TraceNode] = []
    for row in range(count):
        name = texts[columns["name"][row]]
        above = paths[parent[row]] if parent[row] >= 0 else ""
        paths.append(f"{above}.{name}" if above else name)
        own: dict[str, Any] = {key: column[row] for key, column in values.items()}
        own |= {key: texts[columns[key][row]] for key in _TEXTS}
        own |= {key: _tensors(texts[columns[key][row]]) for key in ("inputs", "outputs")}
        own["aliases"] = tuple(own["aliases"])
        nodes.append(TraceNode(path=paths[row], spikes=firing.get(row), **own))
    plain: dict[str, Any] = {name: wire[name] for name in ("model", "device", "tokens", "problem", "failed")}
    return ModelTrace(**plain, notes=tuple(wire["notes"]), nodes=tuple(nodes))


def _column(values: list[Any], default: Any) -> Any:
    rows = [row for row, value in enumerate(values) if value != default]
    if not rows:
        return None
    if len(rows) > len(values) // 3:
        return values
    return {"rows": rows, "values": [values[row] for row in rows]}


def _values(column: Any, count: int, default: Any) -> list[Any]:
    if isinstance(column, list):
        return column
    values = [default] * count
    for row, value in zip(column["rows"], column["values"], strict=True) if column is not None else ():
        values[row] = value
    return values


def _tensor(spec: TensorSpec) -> str:
    return f"{','.join(map(str, spec.shape))} {spec.dtype}"


def _tensors(text: str) -> tuple[TensorSpec, ...]:
    return tuple(_spec(line) for line in text.split("\n")) if text else ()


def _spec(line: str) -> TensorSpec:
    name, _, tensor = line.rpartition(":")
    sizes, _, dtype = tensor.partition(" ")
    return TensorSpec(name, tuple(int(size) for size in sizes.split(",") if size), dtype)
