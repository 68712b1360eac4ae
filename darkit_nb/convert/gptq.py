"""GPTQ: weights are coded feature by feature, and what a code misses is made good by the features still to come.

With H = E[x xᵀ] of the inputs the layer really gets (the quantised stream), damped by λ = damping · mean(diag H), and U
the upper Cholesky factor of H⁻¹ (H⁻¹ = Uᵀ U), for each feature j in order

    q_j = nearest code of w_j,     e = (w_j − value(q_j)) / U_jj,     W[:, j:] −= e · U[j, j:]

which minimises ‖(W − Ŵ) X‖² greedily, one feature at a time, over the features not yet coded. Blocks of features are
coded by `ops.weight_sweep`; what they do to the rest are products of float32, for they only move weights by shares of
a step of the grid. U itself needs float64: H has small eigenvalues, and U is made of their inverses.

Source: Frantar et al. 2023 (GPTQ, arXiv 2210.17323), algorithm 1; act-order is of its published code. Correcting the
weights towards the float stream first: Li et al. 2025 (GPTAQ, arXiv 2504.02692) treat the same mismatch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from darkit_nb.convert.grid import WeightGrid
from darkit_nb.errors import DataError, ShapeError
from darkit_nb.ops.weight_sweep import MOST_FEATURES, compensate

SWEEP_PANEL = 4 * MOST_FEATURES
"""Features whose errors are gathered before the rest of the weight is updated in one product."""

FACTOR_BLOCK = 256
"""Matrices up to this size are factored and inverted by LAPACK; all else is done by products, several times as fast."""

CodeBlock = Callable[[int, int, Tensor], tuple[Tensor, Tensor, Tensor]]
"""Codes, errors and Σ e² of the features from … to, from the weights left of them."""

LARGEST_DAMPING = 1.0
"""A Hessian that cannot be factored gets ten times the damping, again and again up to this."""


def damped_hessian(gram: Tensor, damping: float) -> tuple[Tensor, Tensor]:
    """H with its diagonal raised, and the features that never fired.

    A dead feature (H_jj = 0) has no direction to compensate in: its row and column stay zero and its diagonal becomes
    the mean of the others, so that it is rounded to nearest and moves nothing.

    Args:
        gram: `[D, D]`, Σ x xᵀ over tokens, any positive factor.
        damping: share of the mean of the diagonal that is added to it.

    Returns:
        H `[D, D]` in the dtype of `gram`, and bool `[D]`, true where a feature is dead.

    Raises:
        ShapeError: not a square matrix.
        DataError: values that are not finite, or no feature that ever fired.
    """
    if gram.dim() != 2 or gram.shape[0] != gram.shape[1]:
        raise ShapeError("A Hessian is square.", expected="gram [D, D]", received=f"{list(gram.shape)}")
    diagonal = gram.diagonal()
    if not bool(torch.isfinite(gram).all()):
        raise DataError(
            "The calibration statistics hold values that are not finite.",
            expected="finite Σ x xᵀ",
            received=f"{int((~torch.isfinite(diagonal)).sum())} of {len(diagonal)} features not finite",
            cause="an activation overflowed, or the model's weights hold a NaN",
            fix="calibrate in float32, and check that the float model's loss on the same text is finite",
        )
    dead = diagonal <= 0
    if bool(dead.all()):
        raise DataError(
            "No feature of this layer ever fired on the calibration text.",
            expected="at least one feature with Σ x² > 0",
            received=f"{len(diagonal)} features, all zero",
            cause="the layer gets zeros: its input is masked, or an earlier layer is broken",
            fix="run the float model on the same text and look at this layer's input",
        )
    mean = diagonal[~dead].mean()
    hessian = gram.masked_fill(dead | dead.unsqueeze(1), 0.0)
    hessian.diagonal().copy_(torch.where(dead, mean, diagonal + damping * mean))
    return hessian, dead


def cholesky_factor(gram: Tensor, damping: float, *, reverse: bool = False) -> tuple[Tensor, Tensor, float]:
    """L, the lower Cholesky factor of the damped Hessian, its features in reverse order if asked.

    Returns:
        L `[D, D]`, the dead features bool `[D]`, and the damping that made H positive definite: `damping`, or ten
        times more once or several times.

    Raises:
        DataError: singular even with the largest damping, or what `damped_hessian` refuses.
    """
    tried, most = damping, max(damping, LARGEST_DAMPING)
    while tried <= most:
        hessian, dead = damped_hessian(gram, tried)
        hessian = hessian.flip(0, 1) if reverse else hessian
        if factor_lower(hessian) and bool(torch.isfinite(hessian).all()):
            return hessian, dead, tried
        tried *= 10
    raise DataError(
        "The Hessian of this layer is singular.",
        expected=f"Σ x xᵀ that is positive definite with at most {LARGEST_DAMPING:g} of its mean diagonal added",
        received=f"{gram.shape[0]} features, diagonal {gram.diagonal().min():.3g} … {gram.diagonal().max():.3g}",
        cause="features that are copies of one another to the last bit, or statistics that are no sum of x xᵀ",
        fix="calibrate on more text, raise convert.damping, or use weights='rtn' for this layer",
    )


def inverse_factor(gram: Tensor, damping: float) -> tuple[Tensor, Tensor, float]:
    """U, the upper Cholesky factor of the inverse of the damped Hessian: H⁻¹ = Uᵀ U.

    With its features in reverse order H is L Lᵀ; U is L⁻¹ with both axes reversed.

    Returns:
        U `[D, D]`, and the rest as `cholesky_factor`.

    Raises:
        DataError: as `cholesky_factor`.
    """
    factor, dead, tried = cholesky_factor(gram, damping, reverse=True)
    invert_lower(factor)
    return factor.flip(0, 1), dead, tried


def factor_lower(matrix: Tensor) -> bool:
    """Replace a symmetric matrix by its lower Cholesky factor, in place; False where it is not positive definite.

    A block of columns is finished at a time: first it loses what the columns before it explain, in one product.
    """
    size = len(matrix)
    for begin in range(0, size, FACTOR_BLOCK):
        end = min(begin + FACTOR_BLOCK, size)
        columns, own = matrix[begin:, begin:end], end - begin
        columns.addmm_(matrix[begin:, :begin], matrix[begin:end, :begin].T, alpha=-1)
        corner, fault = torch.linalg.cholesky_ex(columns[:own])
        if int(fault):
            return False
        columns[:own] = corner
        inverse = torch.linalg.solve_triangular(corner, torch.eye(own).to(corner), upper=False)
        columns[own:] = columns[own:] @ inverse.T
    matrix.tril_()
    return True


def invert_lower(factor: Tensor) -> None:
    """Replace a lower triangular matrix by its inverse, in place, mostly by products of its quarters.

    [[A, 0], [B, C]]⁻¹ = [[A⁻¹, 0], [−C⁻¹ B A⁻¹, C⁻¹]]
    """
    size = len(factor)
    if size <= FACTOR_BLOCK:
        factor.copy_(torch.linalg.solve_triangular(factor, torch.eye(size).to(factor), upper=False))
        return
    half = size // 2
    first, below, last = factor[:half, :half], factor[half:, :half], factor[half:, half:]
    invert_lower(first)
    invert_lower(last)
    below.copy_(last @ (below @ first)).neg_()


def activation_order(gram: Tensor) -> Tensor:
    """Features by falling H_jj, int64 `[D]`; ties keep their order. The most active are coded while most are left."""
    return torch.sort(gram.diagonal(), descending=True, stable=True).indices


@dataclass(frozen=True, eq=False)
class Hessian:
    """Calibration statistics of one input, factored once for all the layers that read it.

    Args:
        gram: `[D, D]`, mean of x̂ x̂ᵀ over tokens, float64 for preference.
        damping: share of the mean diagonal that is added to it.
        act_order: code the most active features first, else first to last.
        dtype: of what sweeps are given, None that of `gram`; factors are found in that of `gram`.
    """

    gram: Tensor
    damping: float = 0.01
    act_order: bool = False
    dtype: torch.dtype | None = None
    _pulled: dict[float, tuple[Tensor, Tensor]] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def order(self) -> Tensor:
        """Features in the order they are coded, int64 `[D]`."""
        return activation_order(self.gram) if self.act_order else torch.arange(len(self.gram), device=self.gram.device)

    @cached_property
    def _factored(self) -> tuple[Tensor, Tensor]:
        ordered = self.gram[self.order][:, self.order] if self.act_order else self.gram
        upper = inverse_factor(ordered, self.damping)[0]
        diagonal = torch.empty_like(self.gram.diagonal())
        diagonal[self.order] = torch.linalg.vector_norm(upper, dim=0).square()
        return upper.to(self.dtype or upper.dtype), diagonal

    @property
    def upper(self) -> Tensor:
        """U `[D, D]`, its rows and columns in `order`."""
        return self._factored[0]

    @property
    def inverse_diagonal(self) -> Tensor:
        """[H⁻¹]_jj `[D]`, by feature: the sums of squares of the columns of U."""
        return self._factored[1]

    @cached_property
    def damped(self) -> Tensor:
        """H `[D, D]`, by feature."""
        hessian = damped_hessian(self.gram, self.damping)[0]
        return hessian.to(self.dtype or hessian.dtype)

    @property
    def diagonal(self) -> Tensor:
        """Mean of x̂_j² `[D]`."""
        return self.gram.diagonal().clamp(min=0.0)

    def pulled(self, damping: float) -> tuple[Tensor, Tensor]:
        """Lower Cholesky factor `[D, D]` of the Hessian with another damping, and the dead features bool `[D]`.

        Raises:
            DataError: singular, or what `damped_hessian` refuses.
        """
        if damping not in self._pulled:
            factor, dead, _ = cholesky_factor(self.gram, damping)
            self._pulled[damping] = factor.to(self.dtype or factor.dtype), dead
        return self._pulled[damping]


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
