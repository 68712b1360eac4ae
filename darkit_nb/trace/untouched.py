"""Run a model and leave no trace in it: modes, buffers, membranes and random state are put back as they were."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from darkit_nb.trace.mode import evaluating

_OWN = frozenset(vars(nn.Module()))
"""What every module holds for itself: parameters, submodules, hooks. Not the state of a neuron."""


@contextmanager
def untouched(model: nn.Module) -> Iterator[set[int]]:
    """Evaluation mode without gradients; afterwards everything is as before, also after an error.

    PyTorch's attention runs operator by operator meanwhile: its fused fast path hides products and submodules.

    Yields:
        A set that, when the block ends, holds `id` of every module that kept a tensor from the forward: a membrane.
    """
    changed: set[int] = set()
    devices = sorted({parameter.device.index for parameter in model.parameters() if parameter.device.type == "cuda"})
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices), evaluating(model), torch.no_grad(), _unfused():
        states = [ModuleState.of(module) for module in model.modules()]
        try:
            yield changed
        finally:
            changed |= {id(state.module) for state in states if state.restore()}
            random.setstate(python)
            np.random.set_state(numpy)


@contextmanager
def _unfused() -> Iterator[None]:
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@dataclass
class ModuleState:
    """What one module holds besides parameters and submodules: buffers, membranes, counters."""

    module: nn.Module
    attributes: dict[str, Any]
    inside: dict[str, Any]
    tensors: list[tuple[Tensor, Tensor, int]]

    @staticmethod
    def of(module: nn.Module) -> ModuleState:
        """Its state now, tensors copied."""
        attributes = {name: value for name, value in vars(module).items() if name not in _OWN}
        attributes["_buffers"] = module._buffers
        inside = {name: value.copy() for name, value in attributes.items() if type(value) in (dict, list, set)}
        found = [value for value in attributes.values() if isinstance(value, Tensor)]
        for held in inside.values():
            found += [each for each in _values(held) if isinstance(each, Tensor)]
        kept = [(tensor, tensor.clone(), tensor._version) for tensor in found if not is_lazy(tensor)]
        return ModuleState(module, attributes, inside, kept)

    def restore(self) -> bool:
        """Put everything back, and say whether a tensor was kept or changed."""
        now = vars(self.module)
        names = [name for name in now if name not in _OWN]
        changed = any(isinstance(now[name], Tensor) and now[name] is not self.attributes.get(name) for name in names)
        for name in names:
            if name not in self.attributes:
                del now[name]
        for name, value in self.attributes.items():
            if now.get(name) is not value:
                now[name] = value
        for name, before in self.inside.items():
            changed |= self._refill(self.attributes[name], before)
        for tensor, copy, version in self.tensors:
            if tensor._version != version:
                changed = True
                tensor.copy_(copy)
        return changed

    @staticmethod
    def _refill(held: Any, before: Any) -> bool:
        """Give a container its former content; whether a tensor in it is another one now."""
        mine = {id(each) for each in _values(before)}
        changed = any(isinstance(each, Tensor) and id(each) not in mine for each in _values(held))
        if isinstance(held, list):
            held[:] = before
        else:
            held.clear()
            held.update(before)
        return changed


def _values(container: Any) -> list[Any]:
    return list(container.values() if isinstance(container, dict) else container)
