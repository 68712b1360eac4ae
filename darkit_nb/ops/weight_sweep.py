"""Codes of a block of features, fast: the law of `functional/weight_sweep.py`.

The C++ library keeps a tile of outputs in the cache for the whole block; elsewhere, and in double, it is the
definition.
"""

from __future__ import annotations

import torch
from torch import Tensor

from darkit_nb.functional import weight_sweep as reference
from darkit_nb.ops._native import Record, address
from darkit_nb.ops.backend import backend_name

MOST_FEATURES = 128
"""Features of a block that the library takes; as in `kernels/cpu/weight_sweep.cpp`."""

_sweep = Record("dk_weight_sweep", "PqqqPPPPPqPPP")
Range = tuple[Tensor, Tensor, Tensor, Tensor]


def compensate(
    left: Tensor, upper: Tensor, scale: Tensor, low: Tensor, high: Tensor, group: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`functional.weight_sweep.compensate` on the fastest backend; arguments as there, best up to `MOST_FEATURES`.

    Numerics: bit-equal to the definition on every backend.
    """
    if not _by_library(left):
        return reference.compensate(left, upper, scale, low, high, group)
    codes = torch.empty(left.shape, dtype=torch.int16)
    cost = torch.empty(left.shape[1])
    missed = _run(left, upper, (scale, low, high, group), codes, cost)
    return codes, missed, cost


def descend(
    pull: Tensor, codes: Tensor, matrix: Tensor, scale: Tensor, low: Tensor, high: Tensor, group: Tensor
) -> tuple[Tensor, Tensor]:
    """`functional.weight_sweep.descend` on the fastest backend; arguments as there, best up to `MOST_FEATURES`.

    Numerics: bit-equal to the definition on every backend.
    """
    if not _by_library(pull):
        return reference.descend(pull, codes, matrix, scale, low, high, group)
    found = codes.clone(memory_format=torch.contiguous_format)
    return found, _run(pull, matrix, (scale, low, high, group), found, None)


def _by_library(rows: Tensor) -> bool:
    return (
        rows.dtype == torch.float32
        and rows.is_cpu
        and 0 < len(rows) <= MOST_FEATURES
        and rows.stride(1) == 1
        and backend_name("auto", "cpu") == "native"
    )


def _run(left: Tensor, factor: Tensor, given: Range, codes: Tensor, cost: Tensor | None) -> Tensor:
    scale, low, high, group = (part.contiguous() for part in given)
    missed, columns = torch.empty(left.shape), factor.T.contiguous()
    shape = (address(left), left.stride(0), *left.shape, address(columns))
    ranges = (address(scale), address(low), address(high), address(group))
    _sweep(*shape, *ranges, int(cost is None), address(codes), address(missed), address(cost))
    return missed
