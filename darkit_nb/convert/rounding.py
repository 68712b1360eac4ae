"""Scales and codes once more around a GPTQ sweep, each output by itself, judged by what the outputs miss:

    f(q) = (w − s∘q) H (w − s∘q)ᵀ      H the damped Hessian of the quantised stream, one row w of the weight

swept_scales   the sweep is run with a few scales around the one found before, and every output keeps the best. A clip
               search has to guess what the sweep will make good; here nothing is guessed.
descend        every code is set once more to its best value given all others:
               q_j ← round(q_j + (w − s∘q) H_j / (s_j H_jj)), which never raises f. GPTQ looks ahead only.

Source: coordinate descent as in Behdin et al. 2023 (QuantEase, arXiv 2309.01885), begun from GPTQ's codes.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from darkit_nb.convert.gptq import SWEEP_BLOCK, Hessian, damped_hessian, gptq_codes
from darkit_nb.convert.grid import WeightGrid, by_feature

SHARES = (0.8, 0.85, 0.9, 0.95, 1.05, 1.1)
"""Scales tried, as shares of the one that was found before."""

MOST_TRIED = 2**27
"""Weights swept at a time, all shares together: bounds the memory, about eight tensors of so many float32 values."""


def row_errors(missed: Tensor, matrix: Tensor) -> Tensor:
    """E H Eᵀ of every row of a weight error `[O, D]`, `[O]`."""
    return ((missed @ matrix) * missed).sum(1)


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
    matrix = damped_hessian(hessian.gram, hessian.damping)[0].to(weight.dtype)
    scale, codes = grid.scale.clone(), torch.empty(weight.shape, dtype=torch.int16, device=weight.device)
    at_once = max(1, MOST_TRIED // (len(SHARES) * weight.shape[1]))
    for begin in range(0, len(weight), at_once):
        rows = slice(begin, begin + at_once)
        part = WeightGrid(grid.scale[rows], grid.low[rows], grid.high[rows], grid.group)
        found, codes[rows] = _swept_rows(weight[rows], hessian, part, matrix)
        scale[rows] = found.scale
    return WeightGrid(scale, grid.low, grid.high, grid.group), codes


def _swept_rows(weight: Tensor, hessian: Hessian, grid: WeightGrid, matrix: Tensor) -> tuple[WeightGrid, Tensor]:
    """`swept_scales` of some outputs: all shares side by side as further rows; a sweep costs steps, not rows."""
    codes = gptq_codes(weight, hessian, grid)
    least = row_errors(weight - grid.value(codes), matrix)
    outputs, tries = len(weight), len(SHARES)
    shares = torch.tensor(SHARES, device=weight.device, dtype=grid.scale.dtype).repeat_interleave(outputs)
    many = weight.repeat(tries, 1)
    for group in range(grid.scale.shape[1]):
        scale = grid.scale.repeat(tries, 1)
        scale[:, group] *= shares
        tried = WeightGrid(scale, grid.low.repeat(tries, 1), grid.high.repeat(tries, 1), grid.group)
        found = gptq_codes(many, hessian, tried)
        error, best = row_errors(many - tried.value(found), matrix).view(tries, outputs).min(0)
        better, row = error < least, best * outputs + torch.arange(outputs, device=best.device)
        least = torch.where(better, error, least)
        codes = torch.where(better.unsqueeze(1), found[row], codes)
        kept = torch.where(better.unsqueeze(1), scale[row], grid.scale)
        grid = WeightGrid(kept, grid.low, grid.high, grid.group)
    return grid, codes


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
    matrix = damped_hessian(hessian.gram, hessian.damping)[0].to(weight.dtype)
    weight, values = weight.T, codes.T.to(weight.dtype)  # features are rows, as in the sweep
    scale, low, high = (by_feature(part.to(weight.dtype), grid.group) for part in (grid.scale, grid.low, grid.high))
    one_pass = partial(_descend_once, matrix=matrix, scale=scale, low=low, high=high)
    for _ in range(passes):
        values = one_pass(weight - values * scale, values)
    return values.T.to(torch.int16).contiguous()


def _descend_once(
    missed: Tensor, values: Tensor, *, matrix: Tensor, scale: Tensor, low: Tensor, high: Tensor
) -> Tensor:
    """One pass over `[D, O]`; in a block of features the pull spreads at once, to those behind it block by block."""
    pull, values = matrix @ missed, values.clone(memory_format=torch.contiguous_format)
    features = len(values)
    for start in range(0, features, SWEEP_BLOCK):
        stop = min(start + SWEEP_BLOCK, features)
        moved = torch.empty_like(values[start:stop])
        for j in range(start, stop):
            best = torch.round(values[j] + pull[j] / (scale[j] * matrix[j, j]))
            best = torch.minimum(torch.maximum(best, low[j]), high[j])
            moved[j - start] = step = (best - values[j]) * scale[j]
            pull[j:stop].addr_(matrix[j, j:stop], step, alpha=-1)
            values[j] = best
        pull[stop:].addmm_(matrix[start:stop, stop:].T, moved, alpha=-1)
    return values
