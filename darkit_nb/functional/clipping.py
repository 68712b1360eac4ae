"""Learned weight clipping, in plain PyTorch: both ends of every output's range times a learned share of it.

For the weights of one output, or of one group of neighbouring features of it, with extremes lo ≤ 0 ≤ hi,

    lo' = σ(b) lo      hi' = σ(a) hi      scale = max((hi' − lo') / Q, tiny)      zero = round(−lo' / scale)
    value = (clamp(round(v / scale) + zero, 0, Q) − zero) · scale                 Q = 2^bits − 1

Both roundings pass the gradient straight through. With g the gradient of a value, m = 1 where its code was not clamped
and S over the group,

    G_zero  = −scale · S g (1 − m)
    G_scale = S g ((code − zero) − m v / scale) + G_zero · lo' / scale²
    G_hi'   = G_scale / Q         G_lo' = −G_zero / scale − G_scale / Q
    G_a     = G_hi' hi σ(a)(1 − σ(a))          G_b = G_lo' lo σ(b)(1 − σ(b))
    G_v     = g m, and σ(a) G_hi' at the largest v, σ(b) G_lo' at the smallest, ties evenly

where G_scale / Q counts as 0 if the scale stands at its floor.

`clipped_linear` is a layer behind which such a weight stands, with scales of features and outputs and a mixing of the
features: v = (W diag(s) / r) (Aᵀ ⊗ B), y = x valueᵀ + bias.

Source: Shao et al. 2024 (OmniQuant, arXiv 2308.13137), section 3.2.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from darkit_nb.functional.gif import SCALE_FLOOR
from darkit_nb.functional.kronecker import kronecker_mix
from darkit_nb.functional.rounding import integer_divisor, round_ste


def group_count(features: int, group_size: int | None) -> int:
    """G, groups of `features`: the last one may be smaller."""
    return 1 if group_size is None else -(-features // group_size)


def clipping_range(
    weight: Float[Tensor, "O D"],
    upper: Float[Tensor, "O G"],
    lower: Float[Tensor, "O G"],
    *,
    bits: int,
    group_size: int | None = None,
) -> tuple[Float[Tensor, "O G"], Float[Tensor, "O G"]]:
    """Scale and zero point (whole numbers) of every output and group, both `[O, G]`, differentiable.

    Args:
        weight: `[O, D]`.
        upper: a, what the largest weights are clipped by.
        lower: b, the smallest likewise.
        bits: 2 … 8.
        group_size: neighbouring features that share a range; None is all of them.
    """
    parts = weight.split(group_size or weight.shape[1], 1)
    ends = [torch.aminmax(part, dim=1, keepdim=True) for part in parts]
    lo = torch.cat([end.min for end in ends], 1).clamp(max=0) * lower.sigmoid()
    hi = torch.cat([end.max for end in ends], 1).clamp(min=0) * upper.sigmoid()
    scale = ((hi - lo) / integer_divisor(2**bits - 1, weight)).clamp(min=SCALE_FLOOR)
    return scale, round_ste(-lo / scale)


def clipped_quantise(
    weight: Float[Tensor, "O D"],
    upper: Float[Tensor, "O G"],
    lower: Float[Tensor, "O G"],
    *,
    bits: int,
    group_size: int | None = None,
) -> Float[Tensor, "O D"]:
    """The coded value of `weight`, with straight-through gradients to it and to the clipping; arguments as above."""
    scale, zero = clipping_range(weight, upper, lower, bits=bits, group_size=group_size)
    if group_size is not None:
        scale, zero = (part.repeat_interleave(group_size, 1)[:, : weight.shape[1]] for part in (scale, zero))
    codes = (round_ste(weight / scale) + zero).clamp(0, 2**bits - 1)
    return (codes - zero) * scale


def scaled_weight(weight: Tensor, reads: Tensor | None, writes: Tensor | None) -> Tensor:
    """W diag(s) / r of a weight `[O, D]`, s `[D]` and r `[O]` or None."""
    weight = weight if reads is None else weight * reads
    return weight if writes is None else weight / writes.unsqueeze(1)


def clipped_linear(
    x: Float[Tensor, "*B D"],
    weight: Float[Tensor, "O D"],
    bias: Float[Tensor, " O"] | None,
    upper: Float[Tensor, "O G"],
    lower: Float[Tensor, "O G"],
    *,
    bits: int,
    group_size: int | None = None,
    reads: Float[Tensor, " D"] | None = None,
    writes: Float[Tensor, " O"] | None = None,
    mixing: tuple[Tensor, Tensor] | None = None,
) -> Float[Tensor, "*B O"]:
    """x by the scaled, mixed and clipped weight: the formula at the top of this file.

    Args:
        x: `[*B, D]`, values as they meet the coded weight.
        weight: `[O, D]` float.
        bias: `[O]`, added as it is.
        upper: a `[O, G]`.
        lower: b `[O, G]`.
        bits: 2 … 8.
        group_size: neighbouring features that share a range; None is all of them.
        reads: s `[D]`, scales of the features.
        writes: r `[O]`, divisors of the outputs.
        mixing: A `[p, p]` and B `[q, q]` with p · q = D, see `kronecker_mix`.

    Returns:
        `[*B, O]`, differentiable in every tensor given.
    """
    scaled = scaled_weight(weight, reads, writes)
    mixed = scaled if mixing is None else kronecker_mix(scaled, *mixing)
    return linear(x, clipped_quantise(mixed, upper, lower, bits=bits, group_size=group_size), bias)
