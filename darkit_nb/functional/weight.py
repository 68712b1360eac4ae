"""Low-bit weights of a spiking layer: round to nearest per output channel or group, in plain PyTorch.

For the weights w of one output channel, or of one group of `group_size` neighbouring features of it, with their range
[lo, hi] (zero always inside, both ends scaled by `clip`),

    scale = (hi − lo) / (2^bits − 1)     zero = round(−lo / scale)
    codes = clamp(round(w / scale) + zero, 0, 2^bits − 1)

kept centred, codes − zero, so that the value is codes · scale and integer products need no weight zero point. Stored is
the unsigned code (`functional/packed.py`).

Source: the asymmetric per-channel quantiser of Shao et al. 2024 (OmniQuant), which SpikeLLM uses.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int8, Int16, Int32, Int64, Integer
from torch import Tensor
from torch.nn.functional import pad

from darkit_nb.errors import ShapeError
from darkit_nb.functional.gif import SCALE_FLOOR, compute_dtype
from darkit_nb.functional.packed import packed_bytes
from darkit_nb.functional.rounding import integer_divisor, round_ste


@dataclass(frozen=True, eq=False)
class WeightCode:
    """Integer weights of `O` outputs and `D` features in `G` groups.

    Attributes:
        codes: `[O, D]` int16, centred: the value of a weight is code · scale.
        scale: `[O, G]` float.
        bits: 1 … 8, what one code is stored with.
        group_size: neighbouring features that share a scale, the last group may be smaller; None is one group, G = 1.
        zero: `[O, G]` integers, so that (codes + zero) / spacing is unsigned, 0 … 2^bits − 1. None where the codes are
            only multiplied, never stored.
        spacing: distance between neighbouring codes: 1, or 2 for binary weights ±scale (1 bit, zero 1).
    """

    codes: Int16[Tensor, "O D"]
    scale: Float[Tensor, "O G"]
    bits: int
    group_size: int | None = None
    zero: Integer[Tensor, "O G"] | None = None
    spacing: int = 1

    @property
    def largest(self) -> int:
        """No code is farther from 0."""
        return self.spacing * (2**self.bits - 1)

    @cached_property
    def bytes_(self) -> tuple[Int8[Tensor, "O D"], Int8[Tensor, "O D"] | None]:
        """`codes` in bytes, for integer products: one tensor; beyond ±127 high and low, codes = 2·high + low."""
        if self.largest <= 127:
            return self.codes.to(torch.int8), None
        return (self.codes >> 1).to(torch.int8), (self.codes & 1).to(torch.int8)

    @cached_property
    def row_sums(self) -> Int32[Tensor, " O"]:
        """Sum of the codes of each output, what a zero point is multiplied with."""
        return self.codes.sum(-1, dtype=torch.int32)

    def spread(self, grouped: Tensor) -> Tensor:
        """A `[O, G]` value for every feature: `[O, D]`, or `[O, 1]` when there is one group."""
        if self.group_size is None:
            return grouped
        return grouped.repeat_interleave(self.group_size, -1)[:, : self.codes.shape[1]]

    def dequantise(self) -> Float[Tensor, "O D"]:
        """The weights the codes stand for, `[O, D]`."""
        return self.codes.to(self.scale.dtype) * self.spread(self.scale)

    def unsigned(self) -> Integer[Tensor, "O D"]:
        """The codes as they are stored, `[O, D]` 0 … 2^bits − 1.

        Raises:
            ShapeError: these codes have no zero point.
        """
        if self.zero is None:
            raise ShapeError(
                "These weights have no zero point to be stored with.",
                expected="a WeightCode with zero [O, G]",
                received="zero=None",
                fix="make them with weight_encode, or name the zero point of every group",
            )
        return (self.codes + self.spread(self.zero)) // self.spacing

    @property
    def storage_bytes(self) -> int:
        """Bytes of the packed codes, the scales, and the zero points packed like codes of a byte each."""
        outputs, features = self.codes.shape
        return outputs * packed_bytes(features, self.bits) + self.scale.nbytes + self.scale.numel()


@dataclass(frozen=True, eq=False)
class QuantisedWeight:
    """A weight `[O, D]` whose columns may differ in bits and scales: salient columns, binary ones, more spike steps.

    Attributes:
        parts: what columns (features) each part holds, and their codes in that order; None is all columns as they lie.
            Together the parts hold every column once.
        shape: (O, D).
    """

    parts: tuple[tuple[Int64[Tensor, " _"] | None, WeightCode], ...]
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        held = [self.shape[1] if columns is None else columns.numel() for columns, _ in self.parts]
        fits = [
            tuple(code.codes.shape) == (self.shape[0], count) for count, (_, code) in zip(held, self.parts, strict=True)
        ]
        if sum(held) != self.shape[1] or not all(fits) or not self._every_column_once():
            raise ShapeError(
                "The parts of a weight do not make up its columns.",
                expected=f"every one of {self.shape[1]} columns once, with {self.shape[0]} outputs",
                received=f"parts of {[list(code.codes.shape) for _, code in self.parts]} for columns {held}",
            )

    def _every_column_once(self) -> bool:
        named = [columns for columns, _ in self.parts if columns is not None]
        if not named or named[0].is_meta:
            return True
        return torch.equal(torch.cat(named).sort().values, torch.arange(self.shape[1], device=named[0].device))

    def dequantise(self) -> Float[Tensor, "O D"]:
        """The weights the codes stand for, `[O, D]`."""
        columns, first = self.parts[0]
        if columns is None:
            return first.dequantise()
        weight = first.scale.new_empty(self.shape)
        for chosen, code in self.parts:
            weight[:, chosen] = code.dequantise()
        return weight

    @property
    def storage_bytes(self) -> int:
        """Bytes of all parts, and four for every column whose place is named."""
        named = sum(columns.numel() for columns, _ in self.parts if columns is not None)
        return sum(code.storage_bytes for _, code in self.parts) + 4 * named

    @property
    def storage_bits(self) -> float:
        """Bits a weight takes: codes, scales, zero points and the places of columns, over all weights."""
        return 8 * self.storage_bytes / (self.shape[0] * self.shape[1])


def _groups(weight: Tensor, group_size: int | None) -> Tensor:
    """`[O, G, size]`, the last group filled up with zeros, which every range holds anyway."""
    if group_size is None:
        return weight.unsqueeze(1)
    return pad(weight, (0, -weight.shape[1] % group_size)).unflatten(1, (-1, group_size))


def _scale_and_zero(weight: Tensor, bits: int, clip: float, group_size: int | None) -> tuple[Tensor, Tensor]:
    groups = _groups(weight, group_size)
    lo = groups.amin(-1).clamp(max=0.0) * clip
    hi = groups.amax(-1).clamp(min=0.0) * clip
    scale = ((hi - lo) / integer_divisor(2**bits - 1, weight)).clamp(min=SCALE_FLOOR)
    return scale, torch.round(-lo / scale)


def _codes(weight: Tensor, scale: Tensor, zero: Tensor, bits: int) -> Tensor:
    return (round_ste(weight / scale) + zero).clamp(0, 2**bits - 1) - zero


def _spread(grouped: Tensor, group_size: int | None, features: int) -> Tensor:
    return grouped if group_size is None else grouped.repeat_interleave(group_size, -1)[:, :features]


@torch.no_grad()
def weight_encode(
    weight: Float[Tensor, "O D"], bits: int, *, clip: float = 1.0, group_size: int | None = None
) -> WeightCode:
    """Quantise `weight` `[O, D]` to `bits` (1 … 8) per output channel, or per group of `group_size` features of it.

    `clip` in (0, 1] shrinks the range.
    """
    w = weight.to(compute_dtype(weight))
    scale, zero = _scale_and_zero(w, bits, clip, group_size)
    return weight_encode_with(w, scale, zero, bits, group_size=group_size)


@torch.no_grad()
def weight_encode_with(
    weight: Float[Tensor, "O D"],
    scale: Float[Tensor, "O G"],
    zero: Tensor,
    bits: int,
    *,
    group_size: int | None = None,
) -> WeightCode:
    """Round `weight` to given scales and zero points (whole numbers, `[O, G]`), however they were found."""
    w, features = weight.to(scale.dtype), weight.shape[1]
    steps, offsets = (_spread(value.to(scale.dtype), group_size, features) for value in (scale, zero))
    codes = _codes(w, steps, offsets, bits).to(torch.int16)
    return WeightCode(codes, scale, bits, group_size, zero.to(torch.int16))


def weight_quantise(
    weight: Float[Tensor, "O D"], bits: int, *, clip: float = 1.0, group_size: int | None = None
) -> Float[Tensor, "O D"]:
    """The value `weight_encode` stands for, `[O, D]` in the dtype of `weight`, straight-through inside the range.

    `bits=16` returns the weight itself: float weights.
    """
    if bits >= 16:
        return weight
    w = weight.to(compute_dtype(weight))
    scale, zero = (
        _spread(value, group_size, w.shape[1]) for value in _scale_and_zero(w.detach(), bits, clip, group_size)
    )
    return (_codes(w, scale, zero, bits) * scale).to(weight.dtype)
