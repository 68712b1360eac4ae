"""Backward of quantise-and-fire through the range of a token, in closed form (formula in `functional/gif.py`)."""

from __future__ import annotations

import torch
from torch import Tensor

from darkit_nb.functional.gif import SCALE_FLOOR
from darkit_nb.ops._gif_blocked import GifLaw, limits, row_blocks, spread


def _scale_terms(
    grad: Tensor, x: Tensor, scale: Tensor, zero: Tensor, salient: Tensor | None, clamped: Tensor | None, law: GifLaw
) -> Tensor:
    """g_j·((q_j − z_j) − m_j·x_j/s_j), what every element adds to the gradient of its scale."""
    quotient = x / spread(scale, salient)
    rounded = quotient.round()
    if clamped is None:
        return rounded.sub_(quotient).mul_(grad)
    shift = spread(zero, salient)
    limited = (rounded + shift).clamp(*limits(law, salient, x)) - shift
    return torch.where(clamped, limited, rounded - quotient).mul_(grad)


def _spread_to_ends(out: Tensor, x: Tensor, gs: Tensor, cap: int, members: Tensor | None, signed: bool) -> None:
    """Add gs/cap at the maximum and subtract it at the minimum of the members, ties evenly, as autograd does.

    The scale does not follow an end that zero replaced (zero is always in the range), nor the range of a token so
    small that the scale stands at its floor. Features outside the group count as 0 there, and so they do here.
    """
    inside = x if members is None else x.masked_fill(~members, 0.0)
    inside = inside.abs() if signed else inside
    high = inside.amax(-1, keepdim=True)
    low = torch.zeros_like(high) if signed else inside.amin(-1, keepdim=True)
    reach = (high.clamp(min=0.0) - low.clamp(max=0.0)) / cap
    gs = torch.where(reach >= SCALE_FLOOR, gs / cap, 0.0)
    ends = [(high, gs * (high >= 0))] if signed else [(high, gs * (high >= 0)), (low, -gs * (low <= 0))]
    for end, share in ends:
        ties = (inside == end).to(x.dtype)
        share = share / ties.sum(-1, keepdim=True).clamp_(min=1.0)
        if members is not None:
            ties *= members
        out.addcmul_(ties if not signed else ties * x.sign(), share)


def _block_gradient(
    grad: Tensor, x: Tensor, scale: Tensor, zero: Tensor, salient: Tensor | None, clamped: Tensor | None, law: GifLaw
) -> Tensor:
    terms = _scale_terms(grad, x, scale, zero, salient, clamped, law)
    out = grad.clone() if clamped is None else grad.masked_fill(clamped, 0.0)
    if salient is None:
        _spread_to_ends(out, x, terms.sum(-1, keepdim=True), law.cap_lo, None, law.signed)
        return out
    sum_lo = (terms * ~salient).sum(-1, keepdim=True)
    sum_hi = (terms * salient).sum(-1, keepdim=True)
    if law.ratio is not None:
        _spread_to_ends(out, x, sum_hi + law.ratio * sum_lo, law.cap_hi, None, law.signed)
        return out
    own = law.ranges == "own"
    _spread_to_ends(out, x, sum_lo, law.cap_lo, ~salient if own else None, law.signed)
    _spread_to_ends(out, x, sum_hi, law.cap_hi, salient if own else None, law.signed)
    return out


def range_gradient(
    grad: Tensor, x: Tensor, scale: Tensor, zero: Tensor, salient: Tensor | None, clamped: Tensor | None, law: GifLaw
) -> Tensor:
    """Gradient of the tokens.

    Args:
        grad: `[R, D]` gradient of the dequantised values.
        x: `[R, D]` the tokens.
        scale: `[R, G]` float32.
        zero: `[R, G]` zero points as floats.
        salient: `[D]` boolean or None.
        clamped: `[R, D]` mask of clamped codes or None.
        law: settings of the neuron.
    """
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    for block in row_blocks(x):
        part = _block_gradient(
            grad[block].to(scale.dtype),
            x[block].to(scale.dtype),
            scale[block],
            zero[block],
            salient,
            None if clamped is None else clamped[block],
            law,
        )
        out[block] = part
    return out
