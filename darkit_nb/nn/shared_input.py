"""Layers that read the same tokens: queries, keys and values, or the two first layers of an MLP.

Each would mix and encode its input for itself. `SharedInput` does so once, with one product for all of them, at the
first layer that sees a tensor; the others find their outputs there, as long as it is that very tensor, unwritten since.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol
from weakref import ReferenceType, ref

import torch
from torch import Tensor, nn

from darkit_nb.functional.gif import check_gif_input
from darkit_nb.ops.memory_state import State, same_state, state_of
from darkit_nb.ops.spike_linear import product_dtype
from darkit_nb.ops.spike_product import Products, products_together

Multiply = Callable[[Tensor, torch.dtype], list[Tensor]]


class Sharer(Protocol):
    """What a layer tells of itself."""

    in_features: int
    rotation: nn.Module | None

    @property
    def mask(self) -> Tensor | None:
        """Salient features."""
        ...

    def ready(self, x: Tensor) -> Products | None:
        """The weight laid out for products as it is now; None where the layer has to see `x` by itself."""
        ...


@dataclass(frozen=True)
class _Left:
    """Outputs not yet asked for.

    Attributes:
        x: the input they belong to; held so that it may go.
        version: how often it was written to.
        outputs: by layer: what it was multiplied with, the state of its mixing, and what came out.
    """

    x: ReferenceType[Tensor]
    version: int
    outputs: dict[int, tuple[Products, State, Tensor]]


class SharedInput:
    """One encoding for several layers.

    Args:
        layers: that read the same input in a model. They are not kept alive.
    """

    def __init__(self, layers: Sequence[Sharer]) -> None:
        self._layers = tuple(ref(layer) for layer in layers)
        self._left: _Left | None = None
        self._together: tuple[list[Products], list[State], Multiply | None] | None = None

    def take(self, layer: Sharer, x: Tensor) -> Tensor | None:
        """The output `[*B, L, O]` of one of the layers; None where it has to see `x` by itself.

        Numerics: bit-equal to what the layer gives alone.
        """
        mine = layer.ready(x)
        if mine is None or x.is_inference():  # which do not tell when they are written to
            return None
        found = self._found(layer, mine, x)
        if found is not None:
            return found
        layers = [held() for held in self._layers]
        ready = [mine if other is layer else other and other.ready(x) for other in layers]
        states = [_mixing(other) for other in layers if other is not None]
        if None in ready or None in states:
            return None
        return self._multiply(layer, layers, ready, states, x)  # pyright: ignore[reportArgumentType] - none is None

    def _found(self, layer: Sharer, mine: Products, x: Tensor) -> Tensor | None:
        left = self._left
        if left is None or left.x() is not x or left.version != x._version:
            return None
        products, state, y = left.outputs.pop(id(layer), (None, ([], []), None))
        if not left.outputs:
            self._left = None
        now = _mixing(layer)
        fresh = products is mine and y is not None and y.dtype == product_dtype(x)
        return y if fresh and now is not None and same_state(state, now) else None

    def _multiply(
        self, layer: Sharer, layers: list[Sharer], products: list[Products], states: list[State], x: Tensor
    ) -> Tensor | None:
        multiply = self._kept_together(layers, products, states)
        if multiply is None:
            return None
        mixed = x if layer.rotation is None else layer.rotation(x)
        check_gif_input(mixed, layer.mask)
        found = multiply(mixed.detach().reshape(-1, layer.in_features), product_dtype(x))
        outputs = [y.view(*x.shape[:-1], y.shape[-1]) for y in found]
        left = {id(each): part for each, part in zip(layers, zip(products, states, outputs, strict=True), strict=True)}
        y = left.pop(id(layer))[2]
        self._left = _Left(ref(x, partial(_forget, ref(self))), x._version, left)
        return y

    def _kept_together(self, layers: list[Sharer], products: list[Products], states: list[State]) -> Multiply | None:
        """What multiplies with all weights, found anew when a weight or a mixing has changed."""
        kept = self._together
        if (
            kept is None
            or any(a is not b for a, b in zip(kept[0], products, strict=True))
            or not all(same_state(a, b) for a, b in zip(kept[1], states, strict=True))
        ):
            alike = all(_mix_alike(layers[0].rotation, other.rotation) for other in layers[1:])
            kept = self._together = products, states, products_together(products) if alike else None
        return kept[2]


def _forget(shared: ReferenceType[SharedInput], x: ReferenceType[Tensor]) -> None:
    """The input is gone: nobody will ask for what is left of it."""
    held = shared()
    if held is not None and held._left is not None and held._left.x is x:
        held._left = None


def _mixing(layer: Sharer) -> State | None:
    """State of what mixes the input of a layer; None where it hides."""
    if layer.rotation is None:
        return [], []
    return state_of([*layer.rotation.parameters(), *layer.rotation.buffers()])


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
