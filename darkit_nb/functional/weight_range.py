"""Which of several grids codes each output and group of a weight with the least weighted error.

    argmin_c  Σ_{j in g} h_j (w_oj − s_cog · clamp(round(w_oj / s_cog), low_cog, high_cog))²

Source: the clipping search of AWQ (Lin et al. 2024) and QuaRot (Ashkboos et al. 2024), weighted as in OBS.
"""

from __future__ import annotations

import torch
from torch import Tensor


def coding_error(weight: Tensor, importance: Tensor, group: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Σ h (w − ŵ)² of every output and group, `[O, G]`.

    Args:
        weight: `[O, D]` float.
        importance: h `[D]` ≥ 0.
        group: int64 `[D]`, the group of every feature.
        scale: `[O, G]`, > 0.
        low: `[O, G]` whole numbers, smallest code.
        high: `[O, G]` likewise, largest code.
    """
    if scale.shape[1] > 1:
        spread_scale, low, high = (value[:, group] for value in (scale, low, high))
    else:
        spread_scale = scale
    missed = weight - torch.round(weight / spread_scale).clamp(low, high) * spread_scale
    missed = missed.square() * importance
    if scale.shape[1] == 1:
        return missed.sum(1, keepdim=True)
    return missed.new_zeros(scale.shape).index_add_(1, group, missed)


def best_range(weight: Tensor, importance: Tensor, group: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Index of the best grid of every output and group, int64 `[O, G]`; the first of equals.

    Args:
        weight: `[O, D]` float.
        importance: h `[D]` ≥ 0.
        group: int64 `[D]`.
        scale: `[C, O, G]`, one for each of C grids, > 0.
        low: `[C, O, G]` whole numbers.
        high: `[C, O, G]` whole numbers.

    Numerics: float32 sums in an order of their own; where two grids err alike to the rounding of these sums, either may
        be chosen.
    """
    best = torch.zeros(scale.shape[1:], dtype=torch.int64, device=weight.device)
    least: Tensor | None = None
    for index, grid in enumerate(zip(scale, low, high, strict=True)):
        error = coding_error(weight, importance, group, *grid)
        if least is None:
            least = error
            continue
        better = error < least
        best = torch.where(better, index, best)
        least = torch.where(better, error, least)
    return best
