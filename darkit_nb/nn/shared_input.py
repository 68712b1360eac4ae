"""Layers that read the same tokens: queries, keys and values, or the two first layers of an MLP.

Each would mix and encode its input for itself. `SharedInput` does so once, with one product for all of them, at the
first layer that sees a tensor; the others find their outputs there, as long as it is that very tensor, unwritten since.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol
from weakref import ReferenceType, ref

import torch
from torch import Tensor, nn

from darkit_nb.ops.memory_state import State, same_state, state_of

Multiply = Callable[[Tensor, torch.dtype], list[Tensor]]


class Sharer(Protocol):
    """What a layer tells of itself."""

    rotation: nn.Module | None

    def ready(self, x: Tensor) -> Any:
        """The weight laid out for products as it is now; None where the layer has to see `x` by itself."""
        ...

    def together(self, products: Sequence[Any]) -> Multiply | None:
        """What multiplies the same tokens by several weights that are ready; None where that cannot be."""
        ...

    def mixed(self, x: Tensor, products: Any) -> Tensor:
        """`x` as it meets the weight: mixed where there is a rotation, and checked."""
        ...

    def output_dtype(self, x: Tensor) -> torch.dtype:
        """Of what the layer gives for `x`."""
        ...


@dataclass(frozen=True, slots=True)
class _Together:
    """What multiplies for all layers.

    Attributes:
        multiply: in the order of the layers; None where each has to do so alone.
        made_from: by layer: the weight laid out, and the state of the mixing, None where there is none.
    """

    multiply: Multiply | None
    made_from: dict[int, tuple[Any, State | None]]

    def still_holds(self, layer: Sharer, products: Any) -> bool:
        """Whether nothing of a layer has changed since."""
        before, state = self.made_from[id(layer)]
        if before is not products:
            return False
        if state is None or layer.rotation is None:
            return state is layer.rotation
        now = _mixing(layer.rotation)
        return now is not None and same_state(state, now)


@dataclass(frozen=True, slots=True)
class _Left:
    """Outputs not yet asked for.

    Attributes:
        x: the input they belong to; held so that it may go.
        version: how often it was written to.
        together: what made them.
        outputs: by layer.
    """

    x: ReferenceType[Tensor]
    version: int
    together: _Together
    outputs: dict[int, Tensor]


class SharedInput:
    """One encoding for several layers.

    Whether a layer has changed is looked at when it asks for its output, so a token costs each of them one look: what
    was made for it meanwhile and no longer belongs to it is made anew.

    Args:
        layers: that read the same input in a model. They are not kept alive.
    """

    def __init__(self, layers: Sequence[Sharer]) -> None:
        self._layers = tuple(ref(layer) for layer in layers)
        self._left: _Left | None = None
        self._together: _Together | None = None
        self._forget = partial(_forget, ref(self))

    def take(self, layer: Sharer, x: Tensor) -> Tensor | None:
        """The output `[*B, L, O]` of one of the layers; None where it has to see `x` by itself.

        Numerics: bit-equal to what the layer gives alone.
        """
        products = layer.ready(x)
        if products is None or x.is_inference():  # which do not tell when they are written to
            self._together = None
            return None
        left = self._left
        if left is not None and left.x() is x and left.version == x._version:
            y = left.outputs.pop(id(layer), None)
            if not left.outputs:
                self._left = None
            if y is not None and y.dtype == layer.output_dtype(x) and left.together.still_holds(layer, products):
                return y
        return self._multiply(layer, products, x)

    def _multiply(self, layer: Sharer, products: Any, x: Tensor) -> Tensor | None:
        together = self._together
        if together is None or not together.still_holds(layer, products):
            together = self._together = self._put_together(x)
        if together is None or together.multiply is None:
            return None
        outputs = together.multiply(layer.mixed(x, products), layer.output_dtype(x))
        others = dict(zip(together.made_from, outputs, strict=True))
        y = others.pop(id(layer))
        self._left = _Left(ref(x, self._forget), x._version, together, others)
        return y

    def _put_together(self, x: Tensor) -> _Together | None:
        layers = [layer for held in self._layers if (layer := held()) is not None]
        ready = [layer.ready(x) for layer in layers]
        states = [None if layer.rotation is None else _mixing(layer.rotation) for layer in layers]
        hidden = any(state is not layer.rotation for layer, state in zip(layers, states, strict=True) if state is None)
        if None in ready or hidden or len(layers) < len(self._layers):
            return None
        alike = all(_mix_alike(layers[0].rotation, other.rotation) for other in layers[1:])
        multiply = layers[0].together(ready) if alike else None
        made_from = zip(ready, states, strict=True)
        return _Together(multiply, {id(layer): each for layer, each in zip(layers, made_from, strict=True)})


def _forget(shared: ReferenceType[SharedInput], x: ReferenceType[Tensor]) -> None:
    """The input is gone: nobody will ask for what is left of it."""
    held = shared()
    if held is not None and held._left is not None and held._left.x is x:
        held._left = None


def _mixing(module: nn.Module) -> State | None:
    """State of what mixes an input; None where it hides."""
    return state_of([*module.parameters(), *module.buffers()])


def _mix_alike(one: nn.Module | None, other: nn.Module | None) -> bool:
    if one is None or other is None:
        return one is other
    mine, its = one.state_dict(), other.state_dict()
    return (
        type(one) is type(other)
        and one.extra_repr() == other.extra_repr()
        and mine.keys() == its.keys()
        and all(torch.equal(mine[name], its[name]) for name in mine)
    )
