"""Which input features deserve more spike steps.

A statistic is gathered over tokens while training or calibrating, then turned into a score per feature; the features
with the largest scores are salient. Extremes and means are kept in a form that merges exactly across processes.

    error    (high_c − low_c)² · Σ_o W_oc²      the squared output error one step of feature c causes, up to a constant
    energy   mean_tokens x_c · (WᵀW x)_c        the published score (SpikeLLM, eq. of the saliency metric)
    absmax   max_tokens |x_c|
    random   a fixed pseudo-random order: the control

Source: Xing et al. 2025 (SpikeLLM) for `energy`; the others are standard sensitivity measures.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from darkit_nb.records.spike_spec import Saliency


@torch.no_grad()
def saliency_energy(x: Float[Tensor, "*B D"], weight: Float[Tensor, "O D"]) -> Float[Tensor, " D"]:
    """Mean over all tokens of x ∘ (x WᵀW), `[D]`; `x` is `[*B, L, D]`, `weight` `[O, D]`."""
    flat = x.reshape(-1, x.shape[-1]).to(weight.dtype)
    return (flat * (flat @ weight.T @ weight)).mean(0)


@torch.no_grad()
def saliency_score(
    statistic: Float[Tensor, "2 *F"], weight: Float[Tensor, "O D"] | None, how: Saliency
) -> Float[Tensor, "*F"]:
    """Score of each feature, larger is more salient.

    Args:
        statistic: `[2, *F]`: running minimum and maximum; for "energy" the running mean in row 0.
        weight: `[O, D]` of the layer behind the neuron, or None for a neuron without one.
        how: the rule above.

    Returns:
        `[*F]` float.
    """
    low, high = statistic
    if how == "energy":
        return low
    if how == "absmax":
        return torch.maximum(-low, high)
    if how == "random":
        # Seeded by the shape: the same control in every process and after every restart.
        generator = torch.Generator().manual_seed(low.numel())
        return torch.rand(low.numel(), generator=generator).view_as(low).to(low.device)
    spread = (high - low).square()
    return spread if weight is None else spread * weight.to(low.dtype).square().sum(0)


@torch.no_grad()
def choose_salient(score: Float[Tensor, "*F"], fraction: float, *, above_quantile: bool = False) -> Bool[Tensor, "*F"]:
    """Boolean mask of the `fraction` of features with the largest score, `[*F]`; ties go to the lower index.

    Args:
        score: of each feature.
        fraction: the share to choose, 0 … 1. Above 0 at least one feature is chosen.
        above_quantile: choose those above the quantile at 1 − fraction, as the published code does: ⌈fraction (F − 1)⌉
            of F features, 7 of 64 at a tenth. False takes the nearest number, 6.
    """
    flat = score.flatten()
    exact = fraction * (flat.numel() - 1)
    # Less a rounding error: a tenth of 70 is 7, not 8.
    count = math.ceil(exact - 1e-9 * flat.numel()) if above_quantile else round(fraction * flat.numel())
    count = max(1, count) if fraction > 0 else 0
    mask = torch.zeros_like(flat, dtype=torch.bool)
    mask[torch.sort(flat, descending=True, stable=True).indices[:count]] = True
    return mask.view_as(score)
