"""Low-bit weights of a spiking layer: round to nearest per output channel, in plain PyTorch.

For the row w of one output channel, with its range [lo, hi] (zero always inside, both ends scaled by `clip`),

    scale = (hi − lo) / (2^bits − 1)     zero = round(−lo / scale)
    codes = clamp(round(w / scale) + zero, 0, 2^bits − 1)

stored centred, codes − zero, so that the value is codes · scale and integer products need no weight zero point.

Source: the asymmetric per-channel quantiser of Shao et al. 2024 (OmniQuant), which SpikeLLM uses.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int8, Int16, Int32
from torch import Tensor

from darkit_nb.functional.gif import SCALE_FLOOR, compute_dtype
from darkit_nb.functional.rounding import integer_divisor, round_ste


@dataclass(frozen=True, eq=False)
class WeightCode:
    """Integer weights: `codes` int16 `[O, D]`, centred, in −(2^bits − 1) … 2^bits − 1, and `scale` `[O, 1]` float."""

    codes: Int16[Tensor, "O D"]
    scale: Float[Tensor, "O 1"]
    bits: int

    @cached_property
    def bytes_(self) -> tuple[Int8[Tensor, "O D"], Int8[Tensor, "O D"] | None]:
        """`codes` in bytes, for integer products: one tensor; from 8 bits on high and low, codes = 2·high + low."""
        if self.bits < 8:
            return self.codes.to(torch.int8), None
        return (self.codes >> 1).to(torch.int8), (self.codes & 1).to(torch.int8)

    @cached_property
    def row_sums(self) -> Int32[Tensor, " O"]:
        """Sum of the codes of each output, what a zero point is multiplied with."""
        return self.codes.sum(-1, dtype=torch.int32)

    def dequantise(self) -> Float[Tensor, "O D"]:
        """The weights the codes stand for, `[O, D]`."""
        return self.codes.to(self.scale.dtype) * self.scale


def _scale_and_zero(weight: Tensor, bits: int, clip: float) -> tuple[Tensor, Tensor]:
    lo = weight.amin(-1, keepdim=True).clamp(max=0.0) * clip
    hi = weight.amax(-1, keepdim=True).clamp(min=0.0) * clip
    scale = ((hi - lo) / integer_divisor(2**bits - 1, weight)).clamp(min=SCALE_FLOOR)
    return scale, torch.round(-lo / scale)


def _codes(weight: Tensor, scale: Tensor, zero: Tensor, bits: int) -> Tensor:
    return (round_ste(weight / scale) + zero).clamp(0, 2**bits - 1) - zero


@torch.no_grad()
def weight_encode(weight: Float[Tensor, "O D"], bits: int, *, clip: float = 1.0) -> WeightCode:
    """Quantise `weight` `[O, D]` to `bits` (2 … 8) per output channel; `clip` in (0, 1] shrinks the range."""
    w = weight.to(compute_dtype(weight))
    scale, zero = _scale_and_zero(w, bits, clip)
    return WeightCode(_codes(w, scale, zero, bits).to(torch.int16), scale, bits)


def weight_quantise(weight: Float[Tensor, "O D"], bits: int, *, clip: float = 1.0) -> Float[Tensor, "O D"]:
    """The value `weight_encode` stands for, `[O, D]` in the dtype of `weight`, straight-through inside the range.

    `bits=16` returns the weight itself: float weights.
    """
    if bits >= 16:
        return weight
    w = weight.to(compute_dtype(weight))
    scale, zero = _scale_and_zero(w.detach(), bits, clip)
    return (_codes(w, scale, zero, bits) * scale).to(weight.dtype)
