"""The generalised integrate-and-fire neuron over one token: its definition in plain PyTorch.

For every token, with the range [lo, hi] of its features (zero always inside),

    scale_hi = max((hi − lo) / cap_hi, tiny)      scale_lo = r · scale_hi      zero = round(−lo / scale)
    counts   = clamp(round(x / scale) + zero, 0, cap)

where salient features use (scale_hi, cap_hi) and the others (scale_lo, cap_lo = Q−1), with the integer
r = cap_hi / cap_lo. Own ranges, and paper codes, whose r is no integer, divide once per group instead. Signed spikes
use scale = max|x| / cap and no zero point. A soft-reset neuron charged with `counts` then fires
s_t = clamp(counts − t(Q−1), 0, Q−1) in step t: `SpikeCode.planes`.

Source: Xing et al. 2025 (SpikeLLM, arXiv 2407.04752) section 3; radix coding and signed form are this project's.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from darkit_nb.errors import ConfigError, ShapeError
from darkit_nb.functional.packed import pack_codes
from darkit_nb.functional.rounding import integer_divisor, round_ste
from darkit_nb.functional.spike_code import SpikeCode, count_dtype
from darkit_nb.records.spike_spec import MOST_CODES, Coding, Gradient, Ranges, code_cap

SCALE_FLOOR = 2.0**-100
"""Smallest scale: an all-zero token divides by this instead of by zero. A power of two, exact in float32."""


def compute_dtype(x: Tensor) -> torch.dtype:
    """float32 for every input, except float64, which only gradient checks use."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def check_gif_input(x: Tensor, salient: Tensor | None) -> None:
    """Refuse what no backend can encode.

    Raises:
        ShapeError: not a floating tensor with at least one feature, or a mask that does not fit.
    """
    if not x.is_floating_point() or x.dim() == 0 or x.shape[-1] == 0:
        raise ShapeError(
            "A GIF neuron encodes floating-point tokens.",
            expected="a float32, float16, bfloat16 or float64 tensor [..., L, D] with D ≥ 1",
            received=f"{x.dtype} {list(x.shape)}",
            cause="token ids or an already encoded tensor were passed instead of activations",
            fix="pass the activations in front of the layer",
        )
    if salient is None:
        return
    fits = salient.dtype == torch.bool and salient.shape[-1] == x.shape[-1] and salient.dim() <= x.dim()
    if not fits or salient.device != x.device:
        raise ShapeError(
            "The salient mask does not belong to these features.",
            expected=f"a bool mask whose last axis is {x.shape[-1]}, on {x.device}",
            received=f"{salient.dtype} {list(salient.shape)} on {salient.device}",
            cause="the mask was chosen for another layer, or the layer moved and the mask did not",
            fix="choose the salient features again for this layer",
        )


def check_codes(num_levels: int, num_steps: int, coding: Coding, salient: Tensor | None) -> None:
    """Refuse codes that float32 arithmetic does not carry exactly, on which backends would differ.

    Raises:
        ConfigError: a largest code above 2^20.
    """
    cap = code_cap(num_levels, num_steps if salient is not None else 1, coding)
    if cap > MOST_CODES:
        raise ConfigError(
            "These spikes need codes that are too large.",
            expected="codes up to 2^20, so that float32 arithmetic on them stays exact",
            received=f"{cap.bit_length()} bits, with coding={coding!r}, num_levels={num_levels}, num_steps={num_steps}",
            fix="lower num_steps or num_levels, or use coding='rate'",
        )


def _group_bounds(x: Tensor, salient: Tensor | None, signed: bool) -> tuple[Tensor, Tensor]:
    """Lower and upper bound of each token over the features where `salient` is true, `[*B, L, 1]`, zero included."""
    if signed:
        magnitude = x.abs() if salient is None else x.abs().masked_fill(~salient, 0.0)
        return torch.zeros_like(magnitude[..., :1]), magnitude.amax(-1, keepdim=True)
    inside = x if salient is None else x.masked_fill(~salient, 0.0)
    return inside.amin(-1, keepdim=True).clamp(max=0.0), inside.amax(-1, keepdim=True).clamp(min=0.0)


def gif_scales(
    x: Float[Tensor, "*B D"],
    *,
    num_levels: int,
    num_steps: int = 1,
    salient: Tensor | None = None,
    coding: Coding = "rate",
    ranges: Ranges = "shared",
    signed: bool = False,
) -> tuple[Float[Tensor, "*B G"], Float[Tensor, "*B G"]]:
    """Scale and zero point of every token and range group, both `[*B, L, G]` floats; differentiable in `scale`.

    `x` must already have the compute dtype. The zero point holds integers and is detached.
    """
    cap_lo, cap_hi = num_levels - 1, code_cap(num_levels, num_steps, coding)

    def scale_of(lo: Tensor, hi: Tensor, cap: int) -> Tensor:
        return ((hi - lo) / integer_divisor(cap, x)).clamp(min=SCALE_FLOOR)

    def zero_of(lo: Tensor, scale: Tensor) -> Tensor:
        return torch.round(-lo / scale).nan_to_num(0.0).detach()

    if salient is None:
        lo, hi = _group_bounds(x, None, signed)
        scale = scale_of(lo, hi, cap_lo)
        return scale, zero_of(lo, scale)
    if ranges == "own":
        lo_lo, hi_lo = _group_bounds(x, ~salient, signed)
        lo_hi, hi_hi = _group_bounds(x, salient, signed)
        scale_lo, scale_hi = scale_of(lo_lo, hi_lo, cap_lo), scale_of(lo_hi, hi_hi, cap_hi)
    else:
        lo_lo, hi = _group_bounds(x, None, signed)
        lo_hi = lo_lo
        scale_hi = scale_of(lo_lo, hi, cap_hi)
        scale_lo = scale_of(lo_lo, hi, cap_lo) if coding == "paper" else scale_hi * (cap_hi // cap_lo)
    zeros = torch.cat([zero_of(lo_lo, scale_lo), zero_of(lo_hi, scale_hi)], -1)
    return torch.cat([scale_lo, scale_hi], -1), zeros


def _spread(grouped: Tensor, salient: Tensor | None) -> Tensor:
    return grouped if salient is None else torch.where(salient, grouped[..., 1:2], grouped[..., 0:1])


def _code_limits(
    salient: Tensor | None, num_levels: int, num_steps: int, coding: Coding, signed: bool, like: Tensor
) -> tuple[Tensor, Tensor]:
    cap = torch.full((), num_levels - 1, dtype=like.dtype, device=like.device)
    if salient is not None:
        cap = torch.where(salient, torch.full_like(cap, code_cap(num_levels, num_steps, coding)), cap)
    return (-cap if signed else torch.zeros_like(cap)), cap


@torch.no_grad()
def gif_encode(
    x: Shaped[Tensor, "*X"],
    *,
    num_levels: int,
    num_steps: int = 1,
    salient: Tensor | None = None,
    coding: Coding = "rate",
    ranges: Ranges = "shared",
    signed: bool = False,
) -> SpikeCode:
    """Encode each token as integer spike counts of a generalised integrate-and-fire neuron.

    The formula stands at the top of this file.

    Args:
        x: `[*B, L, D]` activations, any float dtype, any strides.
        num_levels: Q ≥ 2, levels of one spike.
        num_steps: S ≥ 1, steps of the salient features.
        salient: boolean mask broadcastable to `x`; None gives every feature one step.
        coding: rate, radix or paper.
        ranges: shared or own range of the salient features.
        signed: symmetric spikes without a zero point.

    Returns:
        A detached `SpikeCode`. A token that holds a NaN or an infinity gets no spikes and a NaN or infinite scale, so
        its dequantised value is NaN and the fault stays visible.

    Raises:
        ShapeError: `x` is no float tensor with features, or the mask does not fit.
        ConfigError: codes above 2^20.

    Numerics: float32 arithmetic for every input dtype, IEEE division, round half to even; counts are bit-equal on all
        backends.
    """
    check_gif_input(x, salient)
    check_codes(num_levels, num_steps, coding, salient)
    settings: dict[str, Any] = {"num_levels": num_levels, "num_steps": num_steps, "coding": coding, "signed": signed}
    xc = x.to(compute_dtype(x))
    scale, zero = gif_scales(xc, salient=salient, ranges=ranges, **settings)
    low, high = _code_limits(salient, num_levels, num_steps, coding, signed, xc)
    codes = torch.round(xc / _spread(scale, salient)) + _spread(zero, salient)
    codes = codes.nan_to_num(0.0).clamp(low, high)
    cap = code_cap(num_levels, num_steps if salient is not None else 1, coding)
    return SpikeCode(
        counts=codes.to(count_dtype(cap, signed)),
        scale=scale,
        zero_point=zero.to(torch.int32),
        salient=salient,
        ranges=ranges,
        **settings,
    )


def check_packs(cap: int, signed: bool) -> None:
    """Refuse counts that 4 bits do not hold.

    Raises:
        ConfigError: they exceed 15, or have a sign.
    """
    if signed or cap > 15:
        raise ConfigError(
            "These counts do not fit 4 bits.",
            expected="unsigned counts up to 15",
            received=f"{'signed' if signed else 'unsigned'} counts up to {cap}",
            fix="ask for fewer levels or steps, or for counts that are not packed",
        )


def pack_counts(code: SpikeCode) -> UInt8[Tensor, "*B P"]:
    """Counts of at most 15, two a byte, `[*B, L, ⌈D/2⌉]`; `unpack_codes(packed, 4, D)` undoes it.

    Raises:
        ConfigError: the counts exceed 15, or have a sign.
    """
    check_packs(code.cap, code.signed)
    return pack_codes(code.counts, 4)


def gif_quantise(
    x: Shaped[Tensor, "*X"],
    *,
    num_levels: int,
    num_steps: int = 1,
    salient: Tensor | None = None,
    coding: Coding = "rate",
    ranges: Ranges = "shared",
    signed: bool = False,
    gradient: Gradient = "clipped",
) -> Float[Tensor, "*X"]:
    """The value `gif_encode(x)` stands for, with a straight-through gradient; same arguments, plus

    Args:
        gradient: "clipped" holds the range constant, gx = g·m with m = 1 where the code was not clamped. "range" also
            follows the minimum and maximum of the token (ties split evenly): with gs the gradient of the scale,
            gs = Σ_j g_j((q_j − z) − m_j x_j/s_j)/cap_j is added at the maximum and subtracted at the minimum.

    Returns:
        `[*B, L, D]` in the dtype of `x`: counts dequantised.
    """
    check_gif_input(x, salient)
    check_codes(num_levels, num_steps, coding, salient)
    settings: dict[str, Any] = {"num_levels": num_levels, "num_steps": num_steps, "coding": coding, "signed": signed}
    xc = x.to(compute_dtype(x))
    scale, zero = gif_scales(xc if gradient == "range" else xc.detach(), salient=salient, ranges=ranges, **settings)
    scale, zero = _spread(scale, salient), _spread(zero, salient)
    low, high = _code_limits(salient, num_levels, num_steps, coding, signed, xc)
    codes = (round_ste(xc / scale) + zero).nan_to_num(0.0).clamp(low, high)
    return ((codes - zero) * scale).to(x.dtype)
