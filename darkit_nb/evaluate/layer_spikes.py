"""From the spikes of a running module to the record that a raster draws."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from darkit_nb.functional.spike_code import SpikeCode
from darkit_nb.nn.gif import GIF, SpikeListener
from darkit_nb.records.snapshot import LayerSpikes
from darkit_nb.trace.spikes import layer_kind

_HALF = float(np.finfo(np.float16).max)


@contextmanager
def listening(modules: dict[str, GIF], codes: dict[str, tuple[SpikeCode, Tensor]]) -> Iterator[None]:
    """Fill `codes` with the spikes and the input of each module, by name; of a module called twice the last call."""
    before: dict[str, SpikeListener | None] = {}
    inputs: dict[int, Tensor] = {}
    hooks: list[Any] = []
    names = {id(module): name for name, module in modules.items()}

    def see(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        inputs[id(module)] = arguments[0]

    def hear(module: GIF, code: SpikeCode) -> None:
        name = names[id(module)]
        earlier = before[name]
        if earlier is not None:
            earlier(module, code)
        codes[name] = (code, inputs.pop(id(module)))

    try:
        for name, module in modules.items():
            before[name] = module.spike_listener
            module.spike_listener = hear
            hooks.append(module.register_forward_pre_hook(see))
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for name, listener in before.items():
            modules[name].spike_listener = listener


def layer_spikes(name: str, module: GIF, code: SpikeCode, x: Tensor) -> LayerSpikes:
    """The record of a module's spikes.

    Args:
        name: of the module.
        module: what encoded them.
        code: the spikes.
        x: the input they stand for.
    """
    salient = None if code.salient is None else code.salient.flatten().cpu().numpy()
    half = x.detach().float().clamp(-_HALF, _HALF).half()
    return LayerSpikes(
        name=name,
        kind=layer_kind(module, name),
        counts=_rows(code.counts).reshape(-1, module.salient.numel()),
        num_levels=code.num_levels,
        num_steps=code.num_steps if code.salient is not None else 1,
        coding=code.coding,
        ranges=code.ranges,
        signed=code.signed,
        salient=salient,
        scale=_rows(code.scale.float()),
        zero_point=_rows(code.zero_point),
        membrane=_rows(half).reshape(-1, module.salient.numel()),
    )


def _rows(value: Tensor) -> npt.NDArray[Any]:
    """`[1, L, X]` of a linear layer, or `[1, H, L, X]` of keys and values, as `[L, H, X]`."""
    heads = value.transpose(1, 2) if value.dim() == 4 else value.reshape(-1, 1, value.shape[-1])
    return heads.reshape(-1, *heads.shape[-2:]).contiguous().cpu().numpy()
