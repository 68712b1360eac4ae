"""Learned clipping of one weight: its parameters, and the grid they stand for; formulas in `functional.clipping`.

a = b = 4 at the beginning: σ(4) = 0.982 of the range.

Source: Shao et al. 2024 (OmniQuant, arXiv 2308.13137), section 3.2.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from darkit_nb.convert.grid import WeightGrid, feature_groups
from darkit_nb.functional.clipping import clipped_quantise, clipping_range, group_count

INITIAL = 4.0
"""a and b before training."""


class LearnedClipping(nn.Module):
    """Clipping of one weight.

    Args:
        weight: `[O, D]` float; its shape and device are all that is taken.
        bits: 2 … 8.
        group_size: neighbouring features that share a range; None is all of them.

    Attributes:
        upper: a, `[O, G]`.
        lower: b, `[O, G]`.
    """

    def __init__(self, weight: Tensor, bits: int, group_size: int | None = None) -> None:
        super().__init__()
        shape = (weight.shape[0], group_count(weight.shape[1], group_size))
        self.bits, self.group_size = bits, group_size
        self.upper = nn.Parameter(torch.full(shape, INITIAL, device=weight.device))
        self.lower = nn.Parameter(torch.full(shape, INITIAL, device=weight.device))

    @property
    def settings(self) -> dict[str, Any]:
        """What `functional.clipping` calls bits and group_size."""
        return {"bits": self.bits, "group_size": self.group_size}

    def forward(self, weight: Tensor) -> Tensor:
        """The coded value of `weight` `[O, D]`, with straight-through gradients to it and to the clipping."""
        return clipped_quantise(weight, self.upper, self.lower, **self.settings)

    @torch.no_grad()
    def grid(self, weight: Tensor) -> WeightGrid:
        """The grid the learned clipping stands for."""
        scale, zero = clipping_range(weight, self.upper, self.lower, **self.settings)
        group = feature_groups(weight.shape[1], self.group_size, weight.device)
        return WeightGrid(scale, -zero, 2**self.bits - 1 - zero, group)
