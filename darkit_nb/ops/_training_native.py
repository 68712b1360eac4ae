"""Host side of `kernels/cpu/training.cpp`: the forward of a spiking linear layer in training, and what it keeps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from darkit_nb.ops import _product_native
from darkit_nb.ops._gif_blocked import GifLaw
from darkit_nb.ops._gif_native import clamped_codes
from darkit_nb.ops._native import Record, address, empty, rows_of, scratch

_spike_training = Record("dk_spike_training", "PPPqqqqqqqPqqqqPPPPPPq")
_spike_decode = Record("dk_spike_decode", "PPPqqP")
_CLAMPED_COUNT, _CLAMPED_WEIGHT = 1, 2
MOST_BITS = 7
"""Centred codes of more bits do not fit a byte."""


@dataclass(frozen=True, eq=False)
class Forward:
    """What a layer gives out and keeps.

    Attributes:
        y: `[R, O]` float32.
        centred: `[R, D]` int8, counts less zero points.
        scale: `[R, G]` float32.
        clamped: `[R, D]` bool, which codes of tokens were clamped; None where none was.
        values: `[O, D]` float32, the quantised weight.
        clamped_weight: `[O, D]` bool, likewise.
    """

    y: Tensor
    centred: Tensor
    scale: Tensor
    clamped: Tensor | None
    values: Tensor
    clamped_weight: Tensor | None


def fits(x: Tensor, weight: Tensor, bits: int, law: GifLaw, salient: Tensor | None) -> bool:
    """Whether the library can: one product of bytes, sums in 32 bits."""
    cap = law.cap_lo if salient is None else law.cap_hi
    kinds = x.dtype == weight.dtype == torch.float32 and x.is_cpu and weight.is_cpu
    bounded = cap <= 127 and bits <= MOST_BITS and cap * (2**bits - 1) * x.shape[1] < 2**31
    return kinds and bounded and x.numel() > 0 and weight.numel() > 0 and (salient is None or law.ratio is not None)


@torch.no_grad()
def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, bits: int, law: GifLaw, salient: Tensor | None
) -> Forward | None:
    """Tokens `[R, D]` by the weight `[O, D]`, quantised now; None where a weight is no usual number."""
    x = rows_of(x)
    (rows, features), outputs = x.shape, weight.shape[0]
    flags = None if salient is None else salient.to(torch.int32)
    bias = None if bias is None else bias.float().contiguous()
    y, centred = empty((rows, outputs), torch.float32), empty((rows, features), torch.int8)
    scale = empty((rows, 1 if salient is None else 2), torch.float32)
    values = empty((outputs, features), torch.float32)
    source = (x.data_ptr(), weight.data_ptr(), address(bias), x.stride(0), rows, features, outputs)
    neuron = (address(flags), int(law.signed), law.cap_lo, law.cap_hi, law.ratio or 0)
    results = (y.data_ptr(), centred.data_ptr(), scale.data_ptr(), values.data_ptr())

    def run(mask: Tensor | None, room: int) -> int:
        fields = (*source, *weight.stride(), bits, *neuron, *results, address(mask), room)
        return _spike_training(*fields, _product_native.FASTEST)

    room = scratch(run(None, 0))
    found = run(None, room)
    if found < 0:
        return None
    mask = None
    if found & _CLAMPED_WEIGHT:
        mask = torch.empty(values.shape, dtype=torch.bool, device="cpu")
        run(mask, room)
    clamped = clamped_codes(x, law, salient) if found & _CLAMPED_COUNT else None
    return Forward(y, centred, scale, clamped, values, mask)


def decode(centred: Tensor, scale: Tensor, salient: Tensor | None) -> Tensor:
    """The values `[R, D]` float32 of what `forward` kept of tokens."""
    flags = None if salient is None else salient.to(torch.int32)
    values = empty(centred.shape, torch.float32)
    _spike_decode(centred.data_ptr(), scale.data_ptr(), address(flags), *centred.shape, values.data_ptr())
    return values
