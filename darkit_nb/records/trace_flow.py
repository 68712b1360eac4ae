"""The dataflow of one level of a model: modules and operators, and the tensors that go from one to the next."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from darkit_nb.records.plain import own_fields
from darkit_nb.records.trace import SCHEMA, check_schema

FlowKind = Literal["input", "output", "module", "operator"]
FlowOrigin = Literal["torch.export", "hooks"]


@dataclass(frozen=True, kw_only=True)
class FlowNode:
    """A box of the drawing.

    Attributes:
        key: unique in the drawing.
        kind: an input or output of the level, a module below it, or an operator it applies itself.
        label: name of the input, last part of the module's path, or name of the operator.
        path: dotted name of the module in the model; "" for anything else.
        class_name: of a module; the full name of an operator.
        calls: how often it runs in one call of the level: repeated steps are one box.
        line: line of the operator in the source of the level; 0 where it is not known.
        stateful: keeps its own state between calls, which no edge shows.
    """

    key: str
    kind: FlowKind
    label: str
    path: str = ""
    class_name: str = ""
    calls: int = 1
    line: int = 0
    stateful: bool = False


@dataclass(frozen=True, kw_only=True)
class FlowEdge:
    """A tensor on its way.

    Attributes:
        source, target: keys of two boxes; the same one for what a step hands to the next.
        shape: sizes, of the first call.
        dtype: as in `float32`.
        calls: how many tensors go this way in one call of the level.
        feedback: from a later box to an earlier one, through the steps.
    """

    source: str
    target: str
    shape: tuple[int, ...] | None = None
    dtype: str = ""
    calls: int = 1
    feedback: bool = False

    @property
    def label(self) -> str:
        """Shape and dtype, and ×S on an edge from one step to the next."""
        shape = "" if self.shape is None else "×".join(map(str, self.shape)) or "scalar"
        steps = f"×{self.calls}" if self.calls > 1 else ""
        return " ".join(part for part in (shape, steps) if part)


@dataclass(frozen=True, kw_only=True)
class TraceFlow:
    """What happens inside one module.

    Attributes:
        path: dotted name of the module; "" for the model.
        class_name: its class.
        origin: how it was found.
        reason: why not by torch.export, where it was not.
        nodes: boxes, in the order of their first call.
        edges: between them.
    """

    path: str
    class_name: str
    origin: FlowOrigin
    reason: str | None
    nodes: tuple[FlowNode, ...]
    edges: tuple[FlowEdge, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"schema": SCHEMA, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TraceFlow:
        """The record `to_dict` described; unknown keys are ignored.

        Raises:
            ModelError: written by a newer version of this package.
        """
        check_schema(data)
        own = {info.name: data[info.name] for info in dataclasses.fields(cls)}
        nodes = tuple(FlowNode(**_known(FlowNode, each)) for each in own["nodes"])
        edges = tuple(FlowEdge(**_known(FlowEdge, each)) for each in own["edges"])
        return cls(**own | {"nodes": nodes, "edges": edges})


def _known(record: Any, data: Mapping[str, Any]) -> dict[str, Any]:
    own = own_fields(record, data)
    if own.get("shape") is not None:
        own["shape"] = tuple(own["shape"])
    return own
