"""Lets spiking and packed layers multiply as they do when nobody looks at their operations, which are known anyway."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from darkit_nb.nn.linear import SpikeLinear
from darkit_nb.nn.packed_linear import PackedLinear, PackedSpikeLinear
from darkit_nb.trace.flops import FlopMeter

_KINDS = (SpikeLinear, PackedLinear, PackedSpikeLinear)
_KNOWN = tuple(kind.forward for kind in _KINDS)
"""Forwards that are one product of `[O, D]` weights; an edited class has a forward of its own and is looked at."""


class UnwatchedProducts:
    """Pauses a meter inside such layers, and tells it their operations.

    Under the eyes of a `TorchDispatchMode` these layers fall back to their definition in plain PyTorch, and unpack
    every weight: thirty times the work of a forward. Modules inside them, as rotations, are looked at all the same.

    Args:
        meter: of the forward that is listened to.
    """

    def __init__(self, meter: FlopMeter) -> None:
        self._meter = meter
        self._open: list[tuple[str, bool]] = []

    def enter(self, path: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A module is about to run."""
        known = isinstance(module, _KINDS) and type(module).forward in _KNOWN
        known = known and bool(args) and isinstance(args[0], Tensor) and not args[0].is_meta
        self._open.append((path, self._meter.pause(known)))

    def leave(self, path: str, module: nn.Module, output: Any) -> None:
        """It returned, or raised."""
        while self._open and self._open[-1][0] != path:
            self._open.pop()  # a call that ended unseen
        if not self._open:
            return
        if self._open.pop()[1] and isinstance(output, Tensor):
            self._meter.tell(2 * output.numel() * int(module.in_features))  # pyright: ignore[reportArgumentType]
        self._meter.pause(bool(self._open) and self._open[-1][1])
