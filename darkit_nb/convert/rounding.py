"""Scales and codes once more around a GPTQ sweep, each output by itself, judged by what the outputs miss:

    f(q) = (w − s∘q) H (w − s∘q)ᵀ      H the damped Hessian of the quantised stream, one row w of the weight

swept_scales   the sweep is run with a few scales around the one found before, and every output keeps the best. A clip
               search has to guess what the sweep will make good; here nothing is guessed.
descend        every code is set once more to its best value given all others:
               q_j ← round(q_j + (w − s∘q) H_j / (s_j H_jj)), which never raises f. GPTQ looks ahead only.

Source: coordinate descent as in Behdin et al. 2023 (QuantEase, arXiv 2309.01885), begun from GPTQ's codes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from darkit_nb.convert.gptq import SWEEP_PANEL, features_first, outputs_first, sweep
from darkit_nb.convert.grid import WeightGrid
from darkit_nb.convert.hessian import Hessian
from darkit_nb.ops import weight_sweep
from darkit_nb.ops.weight_sweep import MOST_FEATURES

SHARES = (0.8, 0.85, 0.9, 0.95, 1.05, 1.1)
"""Scales tried, as shares of the one that was found before."""

MOST_TRIED = 2**26
"""Weights swept at a time, all shares together: bounds the memory, about four tensors of so many float32 values."""


@torch.no_grad()
def swept_scales(weight: Tensor, hessian: Hessian, grid: WeightGrid) -> tuple[WeightGrid, Tensor]:
    """The grid with the best scales, group after group, and the codes of its sweep.

    Args:
        weight: `[O, D]` float.
        hessian: of the quantised stream.
        grid: scales and ranges to begin with; the ranges of codes stay.

    Returns:
        The grid, and int16 `[O, D]` codes; no row misses more than with the grid it began with.
    """
    upper, order = hessian.upper.to(weight.dtype), hessian.order
    scale, codes = grid.scale.clone(), torch.empty(weight.shape, dtype=torch.int16, device=weight.device)
    at_once = max(1, MOST_TRIED // ((len(SHARES) + 1) * weight.shape[1]))
    for begin in range(0, len(weight), at_once):
        rows = slice(begin, begin + at_once)
        part = WeightGrid(grid.scale[rows], grid.low[rows], grid.high[rows], grid.group[order]).to(weight.dtype)
        scale[rows], found = _swept_rows(features_first(weight[rows], hessian), upper, part)
        codes[rows] = outputs_first(found, hessian)
    return WeightGrid(scale, grid.low, grid.high, grid.group), codes


def _swept_rows(weight: Tensor, upper: Tensor, grid: WeightGrid) -> tuple[Tensor, Tensor]:
    """`swept_scales` of some outputs, features first: all shares side by side as further outputs, for a sweep costs
    steps, not outputs. The scale the first group began with is one of its shares.
    """
    outputs, scale = weight.shape[1], grid.scale
    least = codes = None
    for group in range(scale.shape[1]):
        shares = SHARES if least is not None else (1.0, *SHARES)
        many = scale.repeat(len(shares), 1)
        many[:, group] *= torch.tensor(shares, device=many.device, dtype=many.dtype).repeat_interleave(outputs)
        low, high = (part.repeat(len(shares), 1) for part in (grid.low, grid.high))
        found, cost = sweep(weight.repeat(1, len(shares)), upper, WeightGrid(many, low, high, grid.group))
        cost, share = cost.view(len(shares), outputs).min(0)
        column = share * outputs + torch.arange(outputs, device=share.device)
        if least is None or codes is None:
            least, codes, scale = cost, found[:, column], many[column]
            continue
        better = cost < least
        least = torch.where(better, cost, least)
        codes[:, better] = found[:, column[better]]
        scale = torch.where(better.unsqueeze(1), many[column], scale)
    if codes is None:
        raise ValueError("a grid has at least one group")
    return scale, codes


@torch.no_grad()
def descend(weight: Tensor, hessian: Hessian, grid: WeightGrid, codes: Tensor, passes: int = 1) -> Tensor:
    """Codes after some passes of coordinate descent over the features, first to last.

    Args:
        weight: `[O, D]` float.
        hessian: of the quantised stream.
        grid: of the codes.
        codes: int16 `[O, D]` to begin with.
        passes: over all features.

    Returns:
        int16 `[O, D]`; no row misses more than before.
    """
    matrix, grid = hessian.damped.to(weight.dtype), grid.to(weight.dtype)
    for _ in range(passes):
        pull = matrix @ (weight - grid.value(codes)).T
        codes = _descend_once(pull, codes.T, matrix, grid).T
    return codes.contiguous()


def _descend_once(pull: Tensor, codes: Tensor, matrix: Tensor, grid: WeightGrid) -> Tensor:
    """One pass over codes `[D, O]`; the pull spreads at once in a panel of blocks, and behind it panel by panel."""
    scale, low, high = (part.T.contiguous() for part in (grid.scale, grid.low, grid.high))
    found, features = torch.empty_like(codes, memory_format=torch.contiguous_format), len(codes)
    for start in range(0, features, SWEEP_PANEL):
        stop = min(start + SWEEP_PANEL, features)
        moved = torch.empty_like(pull[start:stop])
        for begin in range(start, stop, MOST_FEATURES):
            end = min(begin + MOST_FEATURES, stop)
            block, own = slice(begin, end), matrix[begin:end, begin:end]
            found[block], steps = weight_sweep.descend(
                pull[block], codes[block], own, scale, low, high, grid.group[block]
            )
            moved[begin - start : end - start] = steps
            pull[end:stop].addmm_(matrix[block, end:stop].T, steps, alpha=-1)
        pull[stop:].addmm_(matrix[start:stop, stop:].T, moved, alpha=-1)
    return found
