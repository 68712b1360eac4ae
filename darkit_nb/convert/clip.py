"""Where to cut the range of a weight: the share of it whose grid misses the outputs least, output by output.

    argmin_c  Σ_j h_j · (w_j − value(code_c(w_j)))²,     h_j = H_jj or 1/[H⁻¹]_jj

A smaller range cuts the largest weights and codes all others more finely. With h = diag H this is the error of the
outputs when nothing compensates (rounding); 1/[H⁻¹]_jj is what is left of it when the other features do (GPTQ).

Source: the weight clipping search of AWQ (Lin et al. 2024) and QuaRot (Ashkboos et al. 2024), weighted as in OBS.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from darkit_nb.convert.grid import WeightGrid, group_extremes, signed_grid, uniform_grid

CLIP_SHARES = tuple(round(1 - 0.025 * step, 3) for step in range(25))
"""Shares of the range that are tried, 1 … 0.4."""

SCALE_SHARES = tuple(round(1 - 0.02 * step, 2) for step in range(48))
"""Scales tried for signed codes, as shares of the one that reaches the largest weight, 1 … 0.06."""


def grouped_error(weight: Tensor, grid: WeightGrid, importance: Tensor) -> Tensor:
    """Σ_j h_j (w_j − ŵ_j)² of every output and group, `[O, G]`, with h `[D]`."""
    missed = (weight - grid.value(grid.codes(weight))).square() * importance
    return missed.new_zeros(grid.scale.shape).index_add_(1, grid.group, missed)


def _best(weight: Tensor, importance: Tensor, grids: Iterator[WeightGrid]) -> WeightGrid:
    """Of every output and group the scale and range with the least error; the first of equals."""
    best = next(grids)
    least = grouped_error(weight, best, importance)
    for grid in grids:
        error = grouped_error(weight, grid, importance)
        better = error < least
        least = torch.where(better, error, least)
        best = WeightGrid(
            torch.where(better, grid.scale, best.scale),
            torch.where(better, grid.low, best.low),
            torch.where(better, grid.high, best.high),
            grid.group,
        )
    return best


@torch.no_grad()
def search_uniform(weight: Tensor, bits: int, group: Tensor, importance: Tensor) -> WeightGrid:
    """The uniform grid of `bits` whose range is cut best.

    Args:
        weight: `[O, D]` float.
        bits: 1 … 8.
        group: `[D]` from `feature_groups`.
        importance: h `[D]` ≥ 0.
    """
    return _best(weight, importance, (uniform_grid(weight, bits, group, share) for share in CLIP_SHARES))


@torch.no_grad()
def search_signed(weight: Tensor, caps: Tensor, group: Tensor, importance: Tensor) -> WeightGrid:
    """The symmetric grid −cap … cap with the best scale of every output and group.

    Args:
        weight: `[O, D]` float.
        caps: `[G]` whole numbers ≥ 1.
        group: `[D]`.
        importance: h `[D]` ≥ 0.
    """
    lo, hi = group_extremes(weight, group, len(caps))
    reach = torch.maximum(-lo, hi) / caps.to(weight.dtype)
    return _best(weight, importance, (signed_grid(reach * share, caps, group) for share in SCALE_SHARES))
