"""Coded values of clipped weights and their gradients in PyTorch; formulas in `functional/clipping.py`.

Axes: weight `[O, D]`, shares of the extremes `[O, G]`, extremes `[O, G, 2]`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from darkit_nb.functional.clipping import scaled_weight
from darkit_nb.functional.gif import SCALE_FLOOR
from darkit_nb.functional.rounding import integer_divisor


@dataclass(frozen=True)
class Clipped:
    """A weight, or some rows of it, with what scales and clips it.

    Attributes:
        weight: `[O, D]` float32, rows contiguous.
        reads: s `[D]` or None.
        writes: r `[O]` or None.
        lower: share of the smallest weight that is kept, `[O, G]`.
        upper: share of the largest.
        bits: 2 … 8.
        group: features of a group; the last group may have fewer.
    """

    weight: Tensor
    reads: Tensor | None
    writes: Tensor | None
    lower: Tensor
    upper: Tensor
    bits: int
    group: int

    @property
    def top(self) -> int:
        """The largest code, Q."""
        return 2**self.bits - 1


@dataclass(frozen=True)
class ClippedGradient:
    """Gradients, and the coded values once more.

    Attributes:
        values: `[O, D]`.
        scaled: of W diag(s) / r, `[O, D]`.
        lower, upper: of the shares, `[O, G]`.
        reads: of s, `[D]`, None where there is none.
        writes: of r, `[O]`, likewise.
    """

    values: Tensor
    scaled: Tensor
    lower: Tensor
    upper: Tensor
    reads: Tensor | None
    writes: Tensor | None


def _scaled(source: Clipped) -> Tensor:
    """W diag(s) / r in memory of its own."""
    scaled = scaled_weight(source.weight, source.reads, source.writes)
    return scaled.clone() if scaled is source.weight else scaled


def encode(source: Clipped) -> tuple[Tensor, Tensor]:
    """Coded values `[O, D]`, and the extremes of every output and group `[O, G, 2]`."""
    scaled = _scaled(source)
    parts = [torch.aminmax(part, dim=1) for part in scaled.split(source.group, 1)]
    ends = torch.stack([torch.stack(part, -1) for part in parts], 1)
    scale, zero, _ = _range(source, ends)
    for g, part in enumerate(scaled.split(source.group, 1)):
        at = slice(g, g + 1)
        codes = torch.div(part, scale[:, at], out=part).round_().add_(zero[:, at]).clamp_(0, source.top)
        codes.sub_(zero[:, at]).mul_(scale[:, at])
    return scaled, ends


def _range(source: Clipped, ends: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scale and zero point, and whether the scale is at its floor, all `[O, G]`."""
    lo, hi = ends[..., 0].clamp(max=0) * source.lower, ends[..., 1].clamp(min=0) * source.upper
    reach = (hi - lo) / integer_divisor(source.top, lo)
    scale = reach.clamp(min=SCALE_FLOOR)
    return scale, torch.round(-lo / scale), reach < SCALE_FLOOR


def differentiate(source: Clipped, ends: Tensor, grad: Tensor) -> ClippedGradient:
    """All gradients, from that of the values `[O, D]`, whose memory may be used."""
    scaled = _scaled(source)
    kept_scaled = scaled.clone() if source.writes is not None else None
    scale, zero, at_floor = _range(source, ends)
    of_lower, of_upper = torch.empty_like(scale), torch.empty_like(scale)
    for g, (part, given) in enumerate(zip(scaled.split(source.group, 1), grad.split(source.group, 1), strict=True)):
        at = slice(g, g + 1)
        own = scale[:, at], zero[:, at], at_floor[:, at], source.lower[:, at], source.upper[:, at]
        of_lower[:, at], of_upper[:, at] = _differentiate_group(part, given, ends[:, g], source.top, *own)
    reads = writes = None
    if source.reads is not None:
        products = grad * source.weight
        reads = (products if source.writes is None else products.div_(source.writes.unsqueeze(1))).sum(0)
    if source.writes is not None and kept_scaled is not None:
        writes = -(grad * kept_scaled).sum(1) / source.writes
    return ClippedGradient(scaled, grad, of_lower, of_upper, reads, writes)


def _differentiate_group(
    part: Tensor,
    grad: Tensor,
    ends: Tensor,
    top: int,
    scale: Tensor,
    zero: Tensor,
    at_floor: Tensor,
    lower: Tensor,
    upper: Tensor,
) -> tuple[Tensor, Tensor]:
    """Gradients of both shares `[O, 1]`; `part` becomes its values and `grad` its gradient."""
    smallest, largest = ends[:, :1], ends[:, 1:]
    at_low, at_high = part == smallest, part == largest
    quotient = part / scale
    codes = quotient.round().add_(zero)
    kept = codes.clamp(0, top)
    outside = kept != codes
    kept.sub_(zero)
    of_scale = ((kept - quotient.masked_fill_(outside, 0.0)) * grad).sum(1, keepdim=True)
    of_zero = -scale * (grad * outside).sum(1, keepdim=True)
    lo, hi = smallest.clamp(max=0), largest.clamp(min=0)
    of_scale = of_scale + of_zero * (lo * lower) / scale / scale
    shared = torch.where(at_floor, 0.0, of_scale / integer_divisor(top, scale))
    of_low = -of_zero / scale - shared
    grad.masked_fill_(outside, 0.0)
    for place, share, counts in ((at_low, of_low * lower, smallest <= 0), (at_high, shared * upper, largest >= 0)):
        grad.addcmul_(place.to(grad.dtype), torch.where(counts, share / place.sum(1, keepdim=True), 0.0))
    torch.mul(kept, scale, out=part)
    return of_low * lo, shared * hi
