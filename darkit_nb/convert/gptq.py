"""GPTQ: weights are coded feature by feature, and what a code misses is made good by the features still to come.

With H = E[x xᵀ] of the inputs the layer really gets (the quantised stream), damped by λ = damping · mean(diag H), and U
the upper Cholesky factor of H⁻¹ (H⁻¹ = Uᵀ U), for each feature j in order

    q_j = nearest code of w_j,     e = (w_j − value(q_j)) / U_jj,     W[:, j:] −= e · U[j, j:]

which minimises ‖(W − Ŵ) X‖² greedily, one feature at a time, over the features not yet coded. Blocks of features are
coded by `ops.weight_sweep`; what they do to the rest are products of float32, for they only move weights by shares of
a step of the grid. `convert.hessian` makes U, which needs float64.

Source: Frantar et al. 2023 (GPTQ, arXiv 2210.17323), algorithm 1; act-order is of its published code. Correcting the
weights towards the float stream first: Li et al. 2025 (GPTAQ, arXiv 2504.02692) treat the same mismatch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from darkit_nb.convert.grid import WeightGrid
from darkit_nb.convert.hessian import Hessian
from darkit_nb.errors import ShapeError
from darkit_nb.ops.weight_sweep import MOST_FEATURES, compensate

SWEEP_PANEL = 4 * MOST_FEATURES
"""Features whose errors are gathered before the rest of the weight is updated in one product."""

CodeBlock = Callable[[int, int, Tensor], tuple[Tensor, Tensor, Tensor]]
"""Codes, errors and Σ e² of the features from … to, from the weights left of them."""


@torch.no_grad()
def gptq_codes(weight: Tensor, hessian: Hessian, grid: WeightGrid) -> Tensor:
    """Codes of `weight` on `grid` by the sweep above.

    Args:
        weight: `[O, D]` float; the sweep computes in its dtype, the factor is found in that of the statistics.
        hessian: of the quantised stream.
        grid: scales and ranges, fixed before the sweep.

    Returns:
        int16 `[O, D]`, in the order of the features.

    Raises:
        DataError: a Hessian that cannot be factored.
        ShapeError: statistics of other features.
    """
    check_features(weight, hessian)
    left = features_first(weight, hessian)
    codes, _ = sweep(left, hessian.upper.to(weight.dtype), grid.permuted(hessian.order).to(weight.dtype))
    return outputs_first(codes, hessian)


def features_first(weight: Tensor, hessian: Hessian) -> Tensor:
    """A weight `[O, D]` as a sweep takes it, a copy `[D, O]` whose features are in their order."""
    return weight.T[hessian.order] if hessian.act_order else weight.T.clone(memory_format=torch.contiguous_format)


def outputs_first(codes: Tensor, hessian: Hessian) -> Tensor:
    """What a sweep returns, `[D, O]`, by output `[O, D]` and with the features in their own places."""
    found = codes.new_empty(codes.shape[1], codes.shape[0])
    found.T[hessian.order] = codes
    return found


def check_features(weight: Tensor, hessian: Hessian) -> None:
    """Refuse statistics of another layer.

    Raises:
        ShapeError: `gram` does not belong to the features of `weight`.
    """
    if hessian.gram.shape != (weight.shape[1], weight.shape[1]):
        raise ShapeError(
            "These calibration statistics belong to another layer.",
            expected=f"gram [{weight.shape[1]}, {weight.shape[1]}]",
            received=f"{list(hessian.gram.shape)}",
        )


def sweep(left: Tensor, upper: Tensor, grid: WeightGrid) -> tuple[Tensor, Tensor]:
    """The sweep above over features in their order.

    Args:
        left: `[D, O]` the weights; used up.
        upper: U `[D, D]`.
        grid: for the features in this order, in the dtype of `left`.

    Returns:
        Codes int16 `[D, O]`, and the squared error (w − ŵ) H (w − ŵ)ᵀ of every output, `[O]`.
    """
    scale, low, high = (part.T.contiguous() for part in (grid.scale, grid.low, grid.high))

    def code(begin: int, end: int, block: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return compensate(block, upper[begin:end, begin:end], scale, low, high, grid.group[begin:end])

    return sweep_blocks(left, upper, code)


def sweep_blocks(left: Tensor, upper: Tensor, code: CodeBlock) -> tuple[Tensor, Tensor]:
    """Code block after block; errors spread at once within a panel of blocks, and to the rest panel by panel.

    Args:
        left: `[D, O]` the weights; used up.
        upper: U `[D, D]`.
        code: how a block is coded.

    Returns:
        As `sweep`.
    """
    features = len(left)
    codes, cost = torch.empty_like(left, dtype=torch.int16), torch.zeros_like(left[0])
    for start in range(0, features, SWEEP_PANEL):
        stop = min(start + SWEEP_PANEL, features)
        missed = torch.empty_like(left[start:stop])
        for begin in range(start, stop, MOST_FEATURES):
            end = min(begin + MOST_FEATURES, stop)
            codes[begin:end], errors, more = code(begin, end, left[begin:end])
            missed[begin - start : end - start] = errors
            cost += more
            left[end:stop].addmm_(upper[begin:end, end:stop].T, errors, alpha=-1)
        left[stop:].addmm_(upper[start:stop, stop:].T, missed, alpha=-1)
    return codes, cost


@torch.no_grad()
def towards_float_stream(
    weight: Tensor, hessian: Hessian, cross: Tensor, *, missing: Tensor | None = None, damping: float = 0.01
) -> Tensor:
    """The weight that maps the quantised stream best onto what the float stream would have given.

        W̃ = W + (W (E[x x̂ᵀ] − E[x̂ x̂ᵀ]) + E[(h − ĥ) x̂ᵀ]) (E[x̂ x̂ᵀ] + λI)⁻¹

    the least-squares solution of ‖W x + (h − ĥ) − W̃ x̂‖² + λ‖W̃ − W‖² over tokens, with x and the residual stream h of
    the float model, and x̂ and ĥ as they are after everything before, spikes included, is coded. A layer that writes
    into the residual stream so makes good what earlier layers lost in it, as far as its own input tells. GPTQ then
    codes W̃ in place of W.

    Args:
        weight: `[O, D]`.
        hessian: of the quantised stream, Σ x̂ x̂ᵀ; its own damping is not used here.
        cross: `[D, D]`, Σ x x̂ᵀ over the same tokens.
        missing: `[O, D]`, Σ (h − ĥ) x̂ᵀ, for a layer whose outputs are added to the stream h; None without.
        damping: λ as a share of the mean diagonal of the Hessian. What is fitted is fitted to the calibration text: λ
            keeps it from chance correlations.

    Returns:
        `[O, D]` in the dtype of `weight`.

    Numerics: the Cholesky factor is found in the dtype of the statistics; products and the two triangular solutions are
        in that of `hessian.dtype`: λ bounds what rounding they do, and the move is a small share of the weight.
    """
    factor, dead = hessian.pulled(damping)
    wanted = weight.to(factor.dtype) @ (cross - hessian.gram).to(factor.dtype)
    if missing is not None:
        wanted += missing.to(factor.dtype)
    correction = torch.cholesky_solve(wanted.masked_fill_(dead, 0.0).T, factor).T
    return (weight.to(factor.dtype) + correction).to(weight.dtype)
