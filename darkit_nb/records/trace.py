"""A model opened: one record per module, with what it computes, holds, costs and fires."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from darkit_nb.errors import ModelError
from darkit_nb.records.plain import own_fields
from darkit_nb.records.trace_node import TraceNode

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class ModelTrace:
    """A model as a tree of modules, from one forward.

    Attributes:
        model: class name.
        device: where it lay, as in `cpu` or `meta`.
        nodes: the model first, then every module before its submodules.
        tokens: tokens of the forward, None where its input is no token ids.
        problem: what stopped the forward, with the path of the module, or None.
        failed: path of the module that raised, if one did.
        notes: sentences a reader of the figures should know.
    """

    model: str
    device: str
    nodes: tuple[TraceNode, ...]
    tokens: int | None = None
    problem: str | None = None
    failed: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def root(self) -> TraceNode:
        """The model itself."""
        return self.nodes[0]

    @property
    def ran(self) -> bool:
        """Whether the model was run at all, and not only its modules listed."""
        return self.root.calls > 0

    @cached_property
    def index(self) -> dict[str, int]:
        """Row of each path, aliases included."""
        rows = {alias: row for row, node in enumerate(self.nodes) for alias in node.aliases}
        return rows | {node.path: row for row, node in enumerate(self.nodes)}

    def node(self, path: str) -> TraceNode:
        """The module of that dotted name.

        Raises:
            ModelError: there is none.
        """
        if path not in self.index:
            import difflib

            near = difflib.get_close_matches(path, self.index, 1)
            raise ModelError(
                "This model has no such module.",
                expected="a dotted name" + (f", as {near[0]}" if near else ""),
                received=repr(path),
            )
        return self.nodes[self.index[path]]

    @cached_property
    def parents(self) -> tuple[int, ...]:
        """Row of the module around each; −1 for the model."""
        rows, found = {"": 0}, [-1]
        for row, node in enumerate(self.nodes[1:], 1):
            rows[node.path] = row
            found.append(rows[node.path.rpartition(".")[0]])
        return tuple(found)

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """One row beyond the last descendant of each."""
        last = [row + 1 for row in range(len(self.nodes))]
        for row in range(len(self.nodes) - 1, 0, -1):
            parent = self.parents[row]
            last[parent] = max(last[parent], last[row])
        return tuple(last)

    def children(self, row: int) -> list[int]:
        """Rows of the submodules right below."""
        found, each = [], row + 1
        while each < self.ends[row]:
            found.append(each)
            each = self.ends[each]
        return found

    def spike_total(self, row: int, count: str) -> int:
        """Sum over a module and everything in it of an integer of its spikes, such as `"ac_unary"`."""
        sums = self._sums(count)
        return sums[self.ends[row]] - sums[row]

    def firing_rate(self, row: int) -> float | None:
        """Share of the slots of a module and everything in it that hold a spike; None where nothing was counted."""
        slots = self.spike_total(row, "slots")
        return self.spike_total(row, "active_slots") / slots if slots else None

    @cached_property
    def _running(self) -> dict[str, list[int]]:
        return {}

    def _sums(self, count: str) -> list[int]:
        if count not in self._running:
            sums = [0]
            for node in self.nodes:
                sums.append(sums[-1] + (getattr(node.spikes, count) if node.spikes else 0))
            self._running[count] = sums
        return self._running[count]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "schema": SCHEMA,
            **{name: getattr(self, name) for name in ("model", "device", "tokens", "problem", "failed")},
            "notes": list(self.notes),
            "nodes": [node.to_dict() for node in self.nodes],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelTrace:
        """The record `to_dict` described.

        Raises:
            ModelError: written by a newer version of this package.
        """
        check_schema(data)
        nodes: Iterable[Mapping[str, Any]] = data["nodes"]
        own = own_fields(cls, data)
        return cls(**own | {"notes": tuple(own["notes"]), "nodes": tuple(map(TraceNode.from_dict, nodes))})

    def to_json(self, indent: int | None = None) -> str:
        """`to_dict` as text."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ModelTrace:
        """The record `to_json` wrote."""
        return cls.from_dict(json.loads(text))


def check_schema(data: Mapping[str, Any]) -> None:
    """Refuse what a newer version wrote.

    Raises:
        ModelError: a schema beyond ours.
    """
    if data["schema"] > SCHEMA:
        raise ModelError(
            "This trace was written by a newer version of darkit-nb.",
            expected=f"schema {SCHEMA} or older",
            received=f"schema {data['schema']}",
            fix="pip install --upgrade darkit-nb; or trace the model again",
        )
