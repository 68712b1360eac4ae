"""The search for the best grid of every output and group, fast: the law of `functional/weight_range.py`.

The C++ library keeps a row in the cache for all grids; elsewhere the definition takes a few rows at a time.
"""

from __future__ import annotations

import torch
from torch import Tensor

from darkit_nb.functional import weight_range as reference
from darkit_nb.ops._native import Record, address, rows_of
from darkit_nb.ops.backend import backend_name

BLOCK = 2**18
"""Weights of the rows that the definition takes at a time on the CPU: their tensors stay in the cache."""

_search = Record("dk_weight_range", "PqqPPqqPPPP")


def best_range(weight: Tensor, importance: Tensor, group: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """`functional.weight_range.best_range` on the fastest backend; arguments as there.

    Numerics: sums in another order than the definition's, so of two grids that err alike either may be chosen; the same
        one on every instruction set and with any number of threads.
    """
    if weight.is_cpu and weight.dtype == torch.float32 and backend_name("auto", "cpu") == "native":
        return _by_library(weight, importance, group, scale, low, high)
    rows = max(1, BLOCK // weight.shape[1]) if weight.is_cpu else len(weight)
    parts = [part.split(rows, 1) for part in (scale, low, high)]
    blocks = zip(weight.split(rows), *parts, strict=True)
    return torch.cat([reference.best_range(block, importance, group, *grids) for block, *grids in blocks])


def _by_library(weight: Tensor, importance: Tensor, group: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> Tensor:
    grids, outputs, groups = scale.shape
    sizes = torch.bincount(group, minlength=groups)
    bound = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    if bool((group.diff() < 0).any()):
        order = torch.sort(group, stable=True).indices
        weight, importance = weight[:, order], importance[order]
    rows, importance = rows_of(weight), importance.to(torch.float32).contiguous()
    scale, low, high = (part.contiguous() for part in (scale, low, high))
    best = torch.empty(outputs, groups, dtype=torch.int64)
    source = (address(rows), rows.stride(0), outputs, address(importance), address(bound))
    _search(*source, groups, grids, address(scale), address(low), address(high), address(best))
    return best
