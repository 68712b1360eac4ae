"""GPTQ: weights are coded feature by feature, and what a code misses is made good by the features still to come.

With H = E[x xᵀ] of the inputs the layer really gets (the quantised stream), damped by λ = damping · mean(diag H), and U
the upper Cholesky factor of H⁻¹ (H⁻¹ = Uᵀ U), for each feature j in order

    q_j = nearest code of w_j,     e = (w_j − value(q_j)) / U_jj,     W[:, j:] −= e · U[j, j:]

which minimises ‖(W − Ŵ) X‖² greedily, one feature at a time, over the features not yet coded.

Source: Frantar et al. 2023 (GPTQ, arXiv 2210.17323), algorithm 1; act-order is of its published code. Correcting the
weights towards the float stream first: Li et al. 2025 (GPTAQ, arXiv 2504.02692) treat the same mismatch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from darkit_nb.convert.grid import WeightGrid, by_feature
from darkit_nb.errors import DataError, ShapeError

SWEEP_BLOCK = 128
"""Features whose errors are gathered before the rest of the weight is updated in one product."""

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


def inverse_factor(gram: Tensor, damping: float) -> tuple[Tensor, Tensor, float]:
    """U, the upper Cholesky factor of the inverse of the damped Hessian.

    Returns:
        U `[D, D]`, the dead features bool `[D]`, and the damping that made H positive definite: `damping`, or ten
        times more once or several times.

    Raises:
        DataError: singular even with the largest damping, or what `damped_hessian` refuses.
    """
    tried = damping
    while tried <= LARGEST_DAMPING:
        hessian, dead = damped_hessian(gram, tried)
        factor, fault = torch.linalg.cholesky_ex(hessian)
        if int(fault) == 0:
            upper, fault = torch.linalg.cholesky_ex(torch.cholesky_inverse(factor), upper=True)
            if int(fault) == 0 and bool(torch.isfinite(upper).all()):
                return upper, dead, tried
        tried *= 10
    raise DataError(
        "The Hessian of this layer is singular.",
        expected=f"Σ x xᵀ that is positive definite with at most {LARGEST_DAMPING:g} of its mean diagonal added",
        received=f"{gram.shape[0]} features, diagonal {gram.diagonal().min():.3g} … {gram.diagonal().max():.3g}",
        cause="features that are copies of one another to the last bit, or statistics that are no sum of x xᵀ",
        fix="calibrate on more text, raise convert.damping, or use weights='rtn' for this layer",
    )


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
    """

    gram: Tensor
    damping: float = 0.01
    act_order: bool = False

    @cached_property
    def order(self) -> Tensor:
        """Features in the order they are coded, int64 `[D]`."""
        return activation_order(self.gram) if self.act_order else torch.arange(len(self.gram), device=self.gram.device)

    @cached_property
    def upper(self) -> Tensor:
        """U `[D, D]`, its rows and columns in `order`."""
        order = self.order
        return inverse_factor(self.gram[order][:, order], self.damping)[0]

    @cached_property
    def inverse_diagonal(self) -> Tensor:
        """[H⁻¹]_jj `[D]`, by feature: the sums of squares of the columns of U."""
        found = torch.empty_like(self.gram.diagonal())
        found[self.order] = self.upper.square().sum(0)
        return found

    @property
    def diagonal(self) -> Tensor:
        """Mean of x̂_j² `[D]`."""
        return self.gram.diagonal().clamp(min=0.0)


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
    order = hessian.order
    codes = _sweep(weight[:, order], hessian.upper.to(weight.dtype), grid.permuted(order).to(weight.dtype))
    found = torch.empty_like(codes, dtype=torch.int16)
    found[:, order] = codes.to(torch.int16)
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


def _sweep(weight: Tensor, upper: Tensor, grid: WeightGrid) -> Tensor:
    """Codes in the order given; within a block errors spread at once, to the rest of the weight block by block.

    Features are rows here, so that what one of them does is one stretch of memory.
    """
    left = weight.T.contiguous()
    codes, features = torch.empty_like(left), len(left)
    scales, lows, highs = (by_feature(value, grid.group) for value in (grid.scale, grid.low, grid.high))
    for start in range(0, features, SWEEP_BLOCK):
        stop = min(start + SWEEP_BLOCK, features)
        missed = torch.empty_like(left[start:stop])
        for j in range(start, stop):
            codes[j] = torch.round(left[j] / scales[j]).clamp(lows[j], highs[j])
            missed[j - start] = error = (left[j] - codes[j] * scales[j]) / upper[j, j]
            left[j:stop].addr_(upper[j, j:stop], error, alpha=-1)
        left[stop:].addmm_(upper[start:stop, stop:].T, missed, alpha=-1)
    return codes.T


def output_error(missed: Tensor, gram: Tensor) -> float:
    """tr(E H Eᵀ) of a weight error E `[O, D]`: the squared error of the outputs, summed over tokens and outputs."""
    return float(((missed.to(gram.dtype) @ gram) * missed).sum())


@torch.no_grad()
def towards_float_stream(
    weight: Tensor, gram: Tensor, cross: Tensor, *, missing: Tensor | None = None, damping: float = 0.01
) -> Tensor:
    """The weight that maps the quantised stream best onto what the float stream would have given.

        W̃ = W + (W (E[x x̂ᵀ] − E[x̂ x̂ᵀ]) + E[(h − ĥ) x̂ᵀ]) (E[x̂ x̂ᵀ] + λI)⁻¹

    the least-squares solution of ‖W x + (h − ĥ) − W̃ x̂‖² + λ‖W̃ − W‖² over tokens, with x and the residual stream h of
    the float model, and x̂ and ĥ as they are after everything before, spikes included, is coded. A layer that writes
    into the residual stream so makes good what earlier layers lost in it, as far as its own input tells. GPTQ then
    codes W̃ in place of W.

    Args:
        weight: `[O, D]`.
        gram: `[D, D]`, Σ x̂ x̂ᵀ.
        cross: `[D, D]`, Σ x x̂ᵀ over the same tokens.
        missing: `[O, D]`, Σ (h − ĥ) x̂ᵀ, for a layer whose outputs are added to the stream h; None without.
        damping: λ as a share of the mean diagonal of `gram`. What is fitted is fitted to the calibration text: λ keeps
            it from chance correlations.

    Returns:
        `[O, D]` in the dtype of `weight`.
    """
    hessian, dead = damped_hessian(gram, damping)
    wanted = weight.to(gram.dtype) @ (cross - gram)
    if missing is not None:
        wanted = wanted + missing.to(gram.dtype)
    correction = torch.linalg.solve(hessian, wanted.masked_fill(dead, 0.0).T).T
    return (weight.to(gram.dtype) + correction).to(weight.dtype)
