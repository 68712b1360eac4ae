"""The tree of a model that nobody has run: with shapes where it reads token ids, of its modules alone elsewhere."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from darkit_nb.nn.gif import GIF
from darkit_nb.records.trace import ModelTrace
from darkit_nb.records.trace_node import TraceNode
from darkit_nb.trace.inputs import device_of
from darkit_nb.trace.kinds import class_name_of
from darkit_nb.trace.tracer import TraceRows, trace_model

TOKENS = 8
"""Tokens that pass the empty copy."""

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def outline_model(model: nn.Module) -> ModelTrace:
    """A model as a tree, without running it and without asking for inputs.

    A model that reads token ids is copied without its weights, and the copy is traced on the meta device: shapes and
    operations of a few tokens, no spikes. Of any other one the modules are listed. Neither touches the model.

    Args:
        model: any module.
    """
    length = _length(model)
    trace = _traced(model, length) if length else None
    if trace is None:
        note = "The model was not run, so there are no shapes: dk.trace_model(model, inputs) has them, and its spikes."
        nodes = _unpriced(TraceRows(model, {}, {}, set()).nodes({}, {}, {}))
        return ModelTrace(model=class_name_of(model), device=str(device_of(model)), nodes=nodes, notes=(note,))
    note = (
        f"Shapes and operations are of {length} tokens, reckoned without running the model: "
        "dk.trace_model(model, inputs) runs it and counts spikes."
    )
    return dataclasses.replace(trace, device=str(device_of(model)), nodes=_unpriced(trace.nodes), notes=(note,))


def without_weights(model: nn.Module) -> nn.Module:
    """A copy on the meta device, without hooks and listeners; no weight is copied on the way.

    Raises:
        Exception: something in the model cannot be copied.
    """
    known: dict[int, Any] = {}
    for tensor in _tensors(model):
        empty = torch.empty_like(tensor, device="meta")
        if isinstance(tensor, nn.Parameter):
            empty = nn.Parameter(empty, requires_grad=tensor.requires_grad)
        known[id(tensor)] = empty
    copied = copy.deepcopy(model, known)
    for module in copied.modules():
        for name in _HOOKS:
            getattr(module, name).clear()
        if isinstance(module, GIF):
            module.spike_listener = None
    return copied


def _traced(model: nn.Module, length: int) -> ModelTrace | None:
    try:
        empty = without_weights(model)
        trace = trace_model(empty, {"input_ids": torch.zeros(1, length, dtype=torch.long, device="meta")})
    except Exception:  # noqa: BLE001 - whatever cannot be copied or traced so is still listed
        return None
    return trace if trace.problem is None else None


def _unpriced(nodes: tuple[TraceNode, ...]) -> tuple[TraceNode, ...]:
    """Without energies: where no spike is counted, only those of what does not spike would be known."""
    return tuple(dataclasses.replace(node, own_energy_pj=None, energy_pj=None) for node in nodes)


def _length(model: nn.Module) -> int:
    """Tokens to take; 0 for a model that reads none."""
    config = getattr(model, "config", None)
    if config is None or getattr(model, "main_input_name", "") != "input_ids":
        return 0
    return min(TOKENS, getattr(config, "max_position_embeddings", None) or TOKENS)


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()
    for module in model.modules():
        for held in vars(module).values():
            values = held.values() if isinstance(held, dict) else held if isinstance(held, list | tuple) else (held,)
            yield from (each for each in values if isinstance(each, Tensor))
