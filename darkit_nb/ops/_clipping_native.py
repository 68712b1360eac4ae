"""Host side of `kernels/cpu/clipping.cpp`; the same functions as `_clipping_blocked`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from darkit_nb.ops._clipping_blocked import Clipped, ClippedGradient
from darkit_nb.ops._native import Record, address, empty

_SOURCE = "PqqqqPPPPq"
_forward = Record("dk_clip_forward", _SOURCE + "PP")
_backward = Record("dk_clip_backward", _SOURCE + "PPPPPPP")
CHUNK = 32
"""As in `kernels/cpu/clipping.cpp`."""


def _fields(source: Clipped) -> tuple[Any, ...]:
    scales = (address(source.reads), address(source.writes), address(source.lower), address(source.upper))
    weight = source.weight
    return weight.data_ptr(), weight.stride(0), *weight.shape, source.group, *scales, source.top


def encode(source: Clipped) -> tuple[Tensor, Tensor]:
    """Coded values `[O, D]`, and the extremes of every output and group `[O, G, 2]`."""
    values = empty(source.weight.shape, torch.float32)
    ends = torch.empty(*source.lower.shape, 2, dtype=torch.float32, device="cpu")
    _forward(*_fields(source), values.data_ptr(), ends.data_ptr())
    return values, ends


def differentiate(source: Clipped, ends: Tensor, grad: Tensor) -> ClippedGradient:
    """All gradients, from that of the values `[O, D]` contiguous, whose memory is used."""
    outputs, features = source.weight.shape
    values = empty((outputs, features), torch.float32)
    lower, upper = torch.empty_like(source.lower), torch.empty_like(source.upper)
    chunks = -(-outputs // CHUNK)
    reads = None if source.reads is None else torch.empty(chunks, features, dtype=torch.float32, device="cpu")
    writes = None if source.writes is None else torch.empty_like(source.writes)
    results = (lower.data_ptr(), upper.data_ptr(), address(reads), address(writes))
    _backward(*_fields(source), values.data_ptr(), ends.data_ptr(), grad.data_ptr(), *results)
    return ClippedGradient(values, grad, lower, upper, None if reads is None else reads.sum(0), writes)
