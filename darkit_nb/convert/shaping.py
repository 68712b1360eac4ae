"""Rounding shaped by what is felt behind the outputs: an error of one output is made good by the outputs still to come.

    minimise  tr(G E H Eᵀ),   E = W − Ŵ      H = E[x̂ x̂ᵀ] of the inputs, G = E[g gᵀ] of the outputs (`sensitivity`)

With V the upper Cholesky factor of the damped G⁻¹ (G⁻¹ = Vᵀ V) this is GPTQ along the outputs around GPTQ along the
inputs: for each block B of neighbouring outputs in order

    Q_B = codes of W_B by GPTQ,     F = V_BB⁻ᵀ (W_B − Ŵ_B),     W_later −= V_B,laterᵀ F

so errors gather where predictions do not feel them. Outputs of one block do not see each other; scales that are tried
are tried for what is left of W_B.

Source: Tseng et al. 2025 (YAQA, arXiv 2505.22988), who round by both factors; in blocks around a GPTQ sweep it is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from darkit_nb.convert.grid import WeightGrid
from darkit_nb.convert.hessian import inverse_factor

BLOCKS = 16
"""Blocks the outputs of a part are coded in; more of them shape better, and each costs a sweep's steps."""

DAMPING = 0.2
"""Share of the mean diagonal that is added to G."""


@torch.no_grad()
def shaped_codes(
    weight: Tensor,
    grid: WeightGrid,
    felt: Sequence[Tensor],
    code: Callable[[Tensor, WeightGrid], tuple[WeightGrid, Tensor]],
) -> tuple[WeightGrid, Tensor]:
    """The grid and the codes of `weight` by the sweeps above.

    Args:
        weight: `[O, D]` float.
        grid: scales and ranges to begin with.
        felt: G of the outputs, matrices down the diagonal that together have O rows.
        code: codes some outputs `[o, D]` by the inputs alone, from the grid they begin with: their grid and codes.

    Returns:
        The grid, and int16 `[O, D]`.

    Raises:
        DataError: a G that cannot be factored, or what `code` raises.
    """
    scale, codes = grid.scale.clone(), torch.empty(weight.shape, dtype=torch.int16, device=weight.device)
    begin = 0
    for part in felt:
        left, factor = weight[begin : begin + len(part)].clone(), _factor(part)
        size = -(-len(part) // BLOCKS)
        for at in range(0, len(part), size):
            own, later = slice(at, at + size), slice(at + size, None)
            rows = slice(begin + at, begin + min(at + size, len(part)))
            found, codes[rows] = code(
                left[own], WeightGrid(grid.scale[rows], grid.low[rows], grid.high[rows], grid.group)
            )
            scale[rows] = found.scale
            missed = left[own] - found.value(codes[rows]).to(left.dtype)
            spread = torch.linalg.solve_triangular(factor[own, own].T.to(left.dtype), missed, upper=False)
            left[later].addmm_(factor[own, later].T.to(left.dtype), spread, alpha=-1)
        begin += len(part)
    return WeightGrid(scale, grid.low, grid.high, grid.group), codes


def _factor(felt: Tensor) -> Tensor:
    """V `[O, O]`; the unit matrix where nothing behind reads these outputs."""
    return inverse_factor(felt, DAMPING)[0] if bool(felt.any()) else torch.eye(len(felt)).to(felt)
