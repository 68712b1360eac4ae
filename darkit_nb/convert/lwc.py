"""Learned weight clipping: both ends of every output's range are multiplied by a learned share in (0, 1).

    lo' = σ(b) · min(w, 0)     hi' = σ(a) · max(w, 0)
    scale = (hi' − lo') / (2^bits − 1)     zero = round(−lo' / scale)

a = b = 4 at the beginning: σ(4) = 0.982 of the range. Codes round straight through; the gradient reaches a and b
through the scale and through the clamped codes. The zero point is rounded straight through too.

Source: Shao et al. 2024 (OmniQuant, arXiv 2308.13137), section 3.2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from darkit_nb.convert.grid import WeightGrid, group_extremes, spread
from darkit_nb.functional.gif import SCALE_FLOOR
from darkit_nb.functional.rounding import integer_divisor, round_ste

INITIAL = 4.0
"""a and b before training."""


class LearnedClipping(nn.Module):
    """Clipping of one weight.

    Args:
        weight: `[O, D]` float; its shape and device are all that is taken.
        bits: 2 … 8.
        group: int64 `[D]` from `feature_groups`.

    Attributes:
        upper: a, `[O, G]`.
        lower: b, `[O, G]`.
    """

    group: Tensor

    def __init__(self, weight: Tensor, bits: int, group: Tensor) -> None:
        super().__init__()
        shape = (weight.shape[0], int(group.max()) + 1)
        self.bits = bits
        self.register_buffer("group", group, persistent=False)
        self.upper = nn.Parameter(torch.full(shape, INITIAL, device=weight.device))
        self.lower = nn.Parameter(torch.full(shape, INITIAL, device=weight.device))

    def _range(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and zero point of every output and group, both `[O, G]`, differentiable."""
        lo, hi = group_extremes(weight, self.group, self.upper.shape[1])
        lo, hi = lo * self.lower.sigmoid(), hi * self.upper.sigmoid()
        scale = ((hi - lo) / integer_divisor(2**self.bits - 1, weight)).clamp(min=SCALE_FLOOR)
        return scale, round_ste(-lo / scale)

    def forward(self, weight: Tensor) -> Tensor:
        """The coded value of `weight` `[O, D]`, with straight-through gradients to it and to the clipping."""
        scale, zero = (spread(value, self.group) for value in self._range(weight))
        codes = (round_ste(weight / scale) + zero).clamp(0, 2**self.bits - 1)
        return (codes - zero) * scale

    @torch.no_grad()
    def grid(self, weight: Tensor) -> WeightGrid:
        """The grid the learned clipping stands for."""
        scale, zero = self._range(weight)
        return WeightGrid(scale, -zero, 2**self.bits - 1 - zero, self.group)
