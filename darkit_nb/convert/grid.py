"""The values weights may take: per output and group of features a scale and a range of whole codes.

    value = scale · code,   code ∈ {low, low + 1, … high}

Uniform quantisers (asymmetric: low = −zero, high = 2^bits − 1 − zero), ternary weights of T spike steps (−T … T) and
trit-planes (−(3^T − 1)/2 … (3^T − 1)/2) are all of this form, so one search, one sweep and one storage serve them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from darkit_nb.functional.gif import SCALE_FLOOR
from darkit_nb.functional.rounding import integer_divisor
from darkit_nb.functional.weight import WeightCode


@dataclass(frozen=True, eq=False)
class WeightGrid:
    """Scales and code ranges of a weight `[O, D]` in `G` groups of features.

    Attributes:
        scale: `[O, G]` float, > 0.
        low: `[O, G]` whole numbers in the dtype of `scale`, smallest code.
        high: `[O, G]` likewise, largest code.
        group: int64 `[D]`, the group of every feature.
    """

    scale: Tensor
    low: Tensor
    high: Tensor
    group: Tensor

    def codes(self, weight: Tensor) -> Tensor:
        """Nearest codes of `weight` `[O, D]`, in its dtype."""
        scale, low, high = (spread(value, self.group) for value in (self.scale, self.low, self.high))
        return torch.round(weight / scale).clamp(low, high)

    def value(self, codes: Tensor) -> Tensor:
        """What the codes `[O, D]` stand for, in the dtype of the scales."""
        return codes.to(self.scale.dtype) * spread(self.scale, self.group)

    def permuted(self, order: Tensor) -> WeightGrid:
        """The same grid for features taken in another order."""
        return WeightGrid(self.scale, self.low, self.high, self.group[order])

    def to(self, dtype: torch.dtype) -> WeightGrid:
        """The same grid in another float dtype."""
        return WeightGrid(self.scale.to(dtype), self.low.to(dtype), self.high.to(dtype), self.group)

    def code(self, codes: Tensor, bits: int, columns: Tensor | None = None) -> WeightCode:
        """Storable codes of all groups, or of the one group whose features are `columns`.

        Groups of all features must be neighbours of one size, as `feature_groups` makes them.
        """
        if columns is None:
            sizes = torch.bincount(self.group, minlength=self.scale.shape[1])
            size = None if len(sizes) == 1 else int(sizes[0])
            zero = (-self.low).to(torch.int16)
            return WeightCode(codes.to(torch.int16), self.scale.float(), bits, size, zero)
        at = self.group[columns[:1]]
        zero = (-self.low[:, at]).to(torch.int16)
        return WeightCode(codes[:, columns].to(torch.int16), self.scale[:, at].float(), bits, None, zero)


def feature_groups(features: int, group_size: int | None, device: torch.device | None = None) -> Tensor:
    """Group of every feature, int64 `[D]`: neighbours share one, or all of them where `group_size` is None."""
    places = torch.arange(features, device=device)
    return torch.zeros_like(places) if group_size is None else places // group_size


def spread(value: Tensor, group: Tensor) -> Tensor:
    """Values `[O, G]` by feature `[O, D]`; those of one group stay `[O, 1]`, which costs nothing."""
    return value if value.shape[1] == 1 else value[:, group]


def group_extremes(weight: Tensor, group: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Smallest and largest weight of every output and group, both `[O, G]`, with 0 inside."""
    if count == 1:
        lo, hi = torch.aminmax(weight, dim=1, keepdim=True)
        return lo.clamp(max=0), hi.clamp(min=0)
    index = group.expand_as(weight)
    zeros = weight.new_zeros(weight.shape[0], count)
    return zeros.scatter_reduce(1, index, weight, "amin"), zeros.scatter_reduce(1, index, weight, "amax")


def uniform_grid(weight: Tensor, bits: int, group: Tensor, clip: Tensor | float = 1.0) -> WeightGrid:
    """The asymmetric grid of `functional.weight`: range [lo, hi] of every output and group, both ends times `clip`.

    Args:
        weight: `[O, D]` float.
        bits: 1 … 8.
        group: `[D]` from `feature_groups`.
        clip: share of the range that is kept, a number or `[O, G]`.
    """
    lo, hi = (end * clip for end in group_extremes(weight, group, int(group.max()) + 1))
    return uniform_between(lo, hi, bits, group)


def uniform_between(lo: Tensor, hi: Tensor, bits: int, group: Tensor) -> WeightGrid:
    """The asymmetric grid of `bits` from `lo` ≤ 0 to `hi` ≥ 0, both `[O, G]`."""
    scale = ((hi - lo) / integer_divisor(2**bits - 1, lo)).clamp(min=SCALE_FLOOR)
    low = torch.round(-lo / scale).neg()
    return WeightGrid(scale, low, low + (2**bits - 1), group)


def signed_grid(scale: Tensor, caps: Tensor, group: Tensor) -> WeightGrid:
    """A symmetric grid −cap … cap.

    Args:
        scale: `[O, G]`.
        caps: `[G]` whole numbers.
        group: `[D]`.
    """
    high = caps.to(scale.dtype).expand_as(scale)
    return WeightGrid(scale.clamp(min=SCALE_FLOOR), -high, high, group)
