"""Where to cut the range of a weight: the share of it whose grid misses the outputs least, output by output.

    argmin_c  Σ_j h_j · (w_j − value(code_c(w_j)))²,     h_j = H_jj or 1/[H⁻¹]_jj

A smaller range cuts the largest weights and codes all others more finely. With h = diag H this is the error of the
outputs when nothing compensates (rounding); 1/[H⁻¹]_jj is what is left of it when the other features do (GPTQ).

Source: the weight clipping search of AWQ (Lin et al. 2024) and QuaRot (Ashkboos et al. 2024), weighted as in OBS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from darkit_nb.convert.grid import WeightGrid, group_extremes, signed_grid, uniform_between
from darkit_nb.ops.weight_range import best_range

CLIP_SHARES = tuple(round(1 - 0.025 * step, 3) for step in range(25))
"""Shares of the range that are tried, 1 … 0.4."""

SCALE_SHARES = tuple(round(1 - 0.02 * step, 2) for step in range(48))
"""Scales tried for signed codes, as shares of the one that reaches the largest weight, 1 … 0.06."""

MOST_TRIED = 2**22
"""Scales that are tried at a time, of all outputs and groups: bounds the memory where groups are small."""


def _best(
    weight: Tensor,
    importance: Tensor,
    group: Tensor,
    shares: Sequence[float],
    grid_of: Callable[[float, slice], WeightGrid],
) -> WeightGrid:
    """Of every output and group the scale and range with the least error; the first of equals.

    Args:
        weight: `[O, D]`.
        importance: h `[D]`.
        group: `[D]`.
        shares: that are tried.
        grid_of: the grid of a share, for some of the outputs.
    """
    at_once = max(1, MOST_TRIED // (len(shares) * (int(group.max()) + 1)))
    parts = []
    for begin in range(0, len(weight), at_once):
        rows = slice(begin, begin + at_once)
        grids = [grid_of(share, rows) for share in shares]
        tried = [torch.stack(part) for part in zip(*((g.scale, g.low, g.high) for g in grids), strict=True)]
        best = best_range(weight[rows], importance, group, *tried).unsqueeze(0)
        parts.append([part.gather(0, best)[0] for part in tried])
    scale, low, high = (torch.cat(part) for part in zip(*parts, strict=True))
    return WeightGrid(scale, low, high, group)


@torch.no_grad()
def search_uniform(weight: Tensor, bits: int, group: Tensor, importance: Tensor) -> WeightGrid:
    """The uniform grid of `bits` whose range is cut best.

    Args:
        weight: `[O, D]` float.
        bits: 1 … 8.
        group: `[D]` from `feature_groups`.
        importance: h `[D]` ≥ 0.
    """
    lo, hi = group_extremes(weight, group, int(group.max()) + 1)

    def grid_of(share: float, rows: slice) -> WeightGrid:
        return uniform_between(lo[rows] * share, hi[rows] * share, bits, group)

    return _best(weight, importance, group, CLIP_SHARES, grid_of)


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

    def grid_of(share: float, rows: slice) -> WeightGrid:
        return signed_grid(reach[rows] * share, caps, group)

    return _best(weight, importance, group, SCALE_SHARES, grid_of)
