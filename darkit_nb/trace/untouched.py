"""Run a model and leave no trace in it: modes, buffers, membranes and random state are put back as they were."""

from __future__ import annotations

import dataclasses
import random
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from darkit_nb.nn.linear import SpikingLinear
from darkit_nb.nn.packed_linear import PackedLinear
from darkit_nb.trace.mode import evaluating

_OWN = frozenset(vars(nn.Module()))
"""What every module holds for itself: parameters, submodules, hooks. Not the state of a neuron."""

_LAID_OUT = frozenset({"_ready"})
"""Where our layers keep their weight laid out for products: no state, and seconds of work in a large model."""


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
    layers = (module for module in model.modules() if isinstance(module, SpikingLinear | PackedLinear))
    kept = {id(layer) for layer in layers if not layer.training}  # in training a layer lets it go
    with torch.random.fork_rng(devices), evaluating(model), torch.no_grad(), _unfused():
        states = [
            ModuleState.of(module, without=_LAID_OUT if id(module) in kept else frozenset())
            for module in model.modules()
        ]
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


class ModuleState:
    """What one module holds besides parameters and submodules: buffers, membranes, counters.

    Args:
        module: whose state it is.
        without: names of attributes that are left as they are.

    Attributes:
        module: whose state it is.
    """

    def __init__(self, module: nn.Module, without: frozenset[str] = frozenset()) -> None:
        self.module = module
        self._left = _OWN | without
        self._attributes = {name: value for name, value in vars(module).items() if name not in self._left}
        self._attributes["_buffers"] = module._buffers
        self._inside: dict[int, tuple[Any, Any]] = {}
        self._tensors: dict[int, tuple[Tensor, Tensor, int]] = {}

    @staticmethod
    def of(module: nn.Module, without: frozenset[str] = frozenset()) -> ModuleState:
        """Its state now; tensors, and containers that lie in its attributes or in one another, are copied."""
        state = ModuleState(module, without)
        for value in state._attributes.values():
            state._keep(value)
        return state

    def _keep(self, value: Any) -> None:
        held = _container(value)
        if isinstance(value, Tensor) and not is_lazy(value):
            self._tensors.setdefault(id(value), (value, value.clone(), value._version))
        elif isinstance(value, tuple):
            for each in value:
                self._keep(each)
        elif held is not None and id(held) not in self._inside:
            self._inside[id(held)] = held, held.copy()
            for each in _values(held):
                self._keep(each)

    def restore(self) -> bool:
        """Put everything back, and say whether a tensor was kept or changed."""
        now = vars(self.module)
        names = [name for name in now if name not in self._left]
        changed = any(isinstance(now[name], Tensor) and now[name] is not self._attributes.get(name) for name in names)
        for name in names:
            if name not in self._attributes:
                del now[name]
        for name, value in self._attributes.items():
            if now.get(name) is not value:
                now[name] = value
        for held, before in self._inside.values():
            changed |= self._refill(held, before)
        for tensor, copy, version in self._tensors.values():
            if tensor._version != version:
                changed = True
                tensor.copy_(copy)
        return changed

    @staticmethod
    def _refill(held: Any, before: Any) -> bool:
        """Give a container its former content; whether a tensor in it is another one now."""
        mine = {id(each) for each in _values(before)}
        changed = any(isinstance(each, Tensor) and id(each) not in mine for each in _values(held))
        held.clear()
        held.extend(before) if isinstance(held, list | deque) else held.update(before)
        return changed


def _container(value: Any) -> Any:
    """What can be emptied and filled again: a list, a dictionary, a set, or the fields of a plain record."""
    if type(value) in (dict, list, set, deque, OrderedDict, defaultdict):
        return value
    plain = dataclasses.is_dataclass(value) or isinstance(value, SimpleNamespace)
    return getattr(value, "__dict__", None) if plain and not isinstance(value, type) else None


def _values(container: Any) -> list[Any]:
    return list(container.values() if isinstance(container, dict) else container)
