"""What is heard of every module of a running model: calls, shapes, operations, and where it failed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from darkit_nb.nn.neuron import TemporalNeuron
from darkit_nb.records.trace_node import SpikeFacts, TensorSpec
from darkit_nb.trace.facts import add_spikes
from darkit_nb.trace.source import source_of
from darkit_nb.trace.values import named_arguments, specs_of


@dataclass
class Calls:
    """What was seen of one module.

    Attributes:
        count: calls.
        inputs, outputs: of the first one.
        shapes_vary: a later one saw other shapes.
        own_flops: of all calls, without those of the modules called inside.
        spikes: of a temporal neuron, which knows what it sends.
    """

    count: int = 0
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    shapes_vary: bool = False
    own_flops: int = 0
    spikes: SpikeFacts | None = None


@dataclass
class _Open:
    """A call that has not returned."""

    path: str
    flops: int
    handling: BaseException | None  # an error that the model is dealing with
    inside: int = 0


class CallWatcher:
    """Keeps a `Calls` for every module that ran, in `calls`, by dotted name.

    Args:
        total: operations counted so far.
    """

    def __init__(self, total: Callable[[], int]) -> None:
        self.calls: dict[str, Calls] = {}
        self._total = total
        self._stack: list[_Open] = []
        self._raised: list[tuple[BaseException, str]] = []

    def enter(self, path: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A module is about to run."""
        own = self.calls.setdefault(path, Calls())
        own.count += 1
        seen = specs_of(named_arguments(source_of(type(module)).arguments, args, kwargs))
        if own.count == 1:
            own.inputs = seen
        own.shapes_vary |= own.count > 1 and seen != own.inputs
        self._stack.append(_Open(path, self._total(), sys.exc_info()[1]))

    def leave(self, path: str, module: nn.Module, output: Any) -> None:
        """It returned, or raised."""
        error = sys.exc_info()[1]
        while self._stack and self._stack[-1].path != path:
            self._stack.pop()  # a call that ended unseen
        if not self._stack:
            return
        own, call = self.calls[path], self._stack.pop()
        flops = self._total() - call.flops
        own.own_flops += flops - call.inside
        if self._stack:
            self._stack[-1].inside += flops
        if error is not None and error is not call.handling:
            if not any(error is each for each, _ in self._raised):
                self._raised.append((error, path))
            return
        if not own.outputs:
            own.outputs = specs_of(output)
        if isinstance(module, TemporalNeuron) and isinstance(output, tuple):
            own.spikes = add_spikes(own.spikes, module, output[0])

    def failed_in(self, error: BaseException) -> str:
        """Path of the innermost module that raised `error`, or what caused it."""
        chain: list[BaseException] = []
        link: BaseException | None = error
        while link is not None and link not in chain:
            chain.append(link)
            link = link.__cause__ or link.__context__
        places = [path for each in chain for raised, path in self._raised if raised is each]
        return places[-1] if places else ""
