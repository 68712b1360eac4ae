"""The Hessian of a layer's inputs: damped until it can be factored, factored once for all layers that read them.

H = E[x xᵀ] over the tokens the layer really gets, damped by λ = damping · mean(diag H); U is the upper Cholesky factor
of H⁻¹ (H⁻¹ = Uᵀ U). It needs float64: H has small eigenvalues, and U is made of their inverses.

Source: Frantar et al. 2023 (GPTQ, arXiv 2210.17323); act-order is of its published code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from darkit_nb.errors import DataError, ShapeError

FACTOR_BLOCK = 256
"""Matrices up to this size are factored and inverted by LAPACK; all else is done by products, several times as fast."""

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
