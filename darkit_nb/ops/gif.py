"""The GIF neuron, fast: the law of `functional/gif.py` on the backend that suits the device.

Axes: `R` rows (tokens of all batch axes), `D` features, `G` range groups (1, or 2 = normal, salient), `M` masks, each
for R/M rows in turn: those of key/value heads.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from darkit_nb.functional import gif as reference
from darkit_nb.functional.gif import check_codes, check_gif_input, check_packs
from darkit_nb.functional.packed import pack_codes
from darkit_nb.functional.spike_code import SpikeCode, count_dtype
from darkit_nb.ops import _gif_blocked as blocked
from darkit_nb.ops import _gif_kernel
from darkit_nb.ops import _gif_native as native
from darkit_nb.ops import _gif_operators as operators
from darkit_nb.ops._cupy import CupyLauncher
from darkit_nb.ops._gif_blocked import GifLaw
from darkit_nb.ops._gif_blocked_gradient import quantise_blocked
from darkit_nb.ops._gif_kernel import QuantiseKernel
from darkit_nb.ops._gif_masks import Encoded, feature_mask, fitting, per_mask
from darkit_nb.ops._gif_native import NativeQuantise
from darkit_nb.ops._gif_operators import settings_of
from darkit_nb.ops.backend import backend_name, exporting, wants_operators
from darkit_nb.records.spike_spec import Backend, Coding, Gradient, Ranges

LEAST_BLOCK = 32768
"""Elements of the rows of one mask from which cache blocks are faster than the definition on all of them."""


def _keywords(law: GifLaw) -> dict[str, Any]:
    """The settings by name; `vars` of an object breaks a graph of torch 2.11."""
    return dict(zip(_SETTINGS, settings_of(law), strict=True))


_SETTINGS = ("num_levels", "num_steps", "coding", "ranges", "signed")


def _chosen(x: Tensor, salient: Tensor | None, backend: Backend) -> str:
    """Backend of this call. Gradient checks in double take the definition, and so do several masks where none pays."""
    name = backend_name(backend, x.device.type)
    plain = x.dtype == torch.float64 or x.numel() == 0
    if salient is not None and salient.dim() > 1:
        # Kernels and operators have one mask for all tokens. Cache blocks take the rows of one mask at a time.
        plain |= name == "cupy" or wants_operators() or (name == "blocked" and x.numel() < len(salient) * LEAST_BLOCK)
    # Fast paths ask for values, which neither the meta device nor torch.export has.
    # Nor do cache blocks fit a graph: what is compiled is fused anyway.
    fused = name == "blocked" and torch.compiler.is_compiling()
    return "reference" if plain or fused or x.is_meta or exporting() else name


def _encode_reference(x: Tensor, law: GifLaw, salient: Tensor | None) -> Encoded:
    if salient is not None and salient.dim() > 1:
        salient = salient.repeat_interleave(len(x) // max(1, len(salient)), 0)
    xc = x.to(reference.compute_dtype(x))
    scale, zero = law.scales(xc, salient)
    codes = blocked.raw_codes(xc, scale, zero, salient)
    limited = codes.nan_to_num(0.0).clamp(*blocked.limits(law, salient, codes))
    clamped = limited != codes
    counts = limited.to(law.dtype(salient is not None))
    wanted = torch.compiler.is_compiling() or bool(clamped.any())  # a graph cannot ask for values
    return counts, scale, zero.to(torch.int32), clamped if wanted else None


@torch.no_grad()
def encode_rows(
    x2d: Tensor,
    *,
    num_levels: int,
    num_steps: int = 1,
    salient: Tensor | None = None,
    coding: Coding = "rate",
    ranges: Ranges = "shared",
    signed: bool = False,
    packed: bool = False,
    mask: bool = True,
    backend: Backend = "auto",
) -> Encoded:
    """Encode tokens as counts, and say which codes were clamped: what a layer saves for its backward.

    Args:
        x2d: `[R, D]` activations, any float dtype.
        num_levels: Q, levels of one spike.
        num_steps: S, steps of the salient features.
        salient: `[D]` boolean, or `[M, D]` for R/M rows each, or None.
        coding: rate, radix or paper.
        ranges: shared or own range of the salient features.
        signed: symmetric spikes without a zero point.
        packed: counts as `functional.gif.pack_counts` packs them, two a byte, `[R, ⌈D/2⌉]` uint8.
        mask: whether the mask is wanted; kernels write none without.
        backend: implementation, see `resolve_backend`.

    Returns:
        counts `[R, D]` in the smallest dtype that holds them, scale `[R, G]` float32, zero point `[R, G]` int32, and
        the boolean mask `[R, D]` of clamped codes; on the CPU None when no code was clamped, the usual case; from a
        kernel one bit a feature, `[R, ⌈D/8⌉]` uint8.

    Raises:
        ShapeError: `x2d` is no float tensor with features, or the mask does not fit.
        ConfigError: counts to be packed do not fit 4 bits.
        BackendError: the backend cannot be had for this device.

    Numerics: bit-equal to `functional.gif.gif_encode`.
    """
    check_gif_input(x2d, salient)
    law = GifLaw(num_levels, num_steps, coding, ranges, signed)
    if salient is not None:
        salient = salient.reshape(-1) if salient.numel() == salient.shape[-1] else fitting(salient, x2d)
    if packed:
        check_packs(law.cap_lo if salient is None else law.cap_hi, signed)
    match _chosen(x2d, salient, backend):
        case "blocked":
            found = per_mask(blocked.encode, x2d, law, salient)
        case "native" | "cupy" if wants_operators():
            return operators.encode(x2d, law, salient, packed=packed, mask=mask)
        case "native":
            return native.encode(x2d, law, salient, packed)
        case "cupy":
            return _gif_kernel.encode(x2d, law, salient, CupyLauncher(), packed=packed, mask=mask)
        case _:
            found = _encode_reference(x2d, law, salient)
    return (pack_codes(found[0], 4), *found[1:]) if packed else found


@torch.no_grad()
def encode_centred(
    x2d: Tensor, *, salient: Tensor | None = None, backend: Backend = "auto", **settings: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """What a spiking layer needs in one go: values to multiply now, small integers to keep for the backward.

    Args:
        x2d: `[R, D]` activations, any float dtype.
        salient: `[D]` boolean, or None.
        backend: implementation, see `resolve_backend`.
        settings: of `gif_encode`.

    Returns:
        values `[R, D]` float32 (from a kernel rounded to the dtype of `x2d`), centred counts (counts − zero point)
        `[R, D]` in the smallest signed dtype, scale `[R, G]` float32, and the mask of clamped codes as `encode_rows`
        returns it, so that values = centred · scale.
    """
    check_gif_input(x2d, salient)
    law = GifLaw(**settings)
    match _chosen(x2d, salient, backend):
        case "blocked":
            return per_mask(blocked.quantise_centred, x2d, law, salient)
        case "native" | "cupy" if wants_operators():
            return operators.encode_centred(x2d, law, salient)
        case "native":
            return native.quantise_centred(x2d, law, salient)
        case "cupy":
            return _gif_kernel.encode_centred(x2d, law, salient, CupyLauncher())
    counts, scale, zero, clamped = encode_rows(x2d, salient=salient, backend=backend, **settings)
    cap = law.cap_hi if salient is not None else law.cap_lo
    centred = (counts.to(torch.int32) - blocked.spread(zero, salient)).to(count_dtype(cap, signed=True))
    return centred.to(scale.dtype) * blocked.spread(scale, salient), centred, scale, clamped


@torch.no_grad()
def decode_centred(centred: Tensor, scale: Tensor, *, salient: Tensor | None = None, **settings: Any) -> Tensor:
    """The values `encode_centred` returned, from the integers and scales it returned beside them, `[R, D]` float32."""
    if centred.device.type == "cpu" and not torch.compiler.is_compiling():
        return blocked.decode_centred(centred, scale, GifLaw(**settings), salient)
    return centred.to(scale.dtype) * blocked.spread(scale, salient)


def clip_gradient(grad: Tensor, clamped: Tensor | None) -> Tensor:
    """gx = g·m of gradient="clipped", with the mask that `encode_rows` returned; `grad` itself if it is None."""
    if clamped is not None and clamped.dtype == torch.uint8:
        return operators.clip(grad, clamped) if wants_operators() else _gif_kernel.clip(grad, clamped, CupyLauncher())
    return grad if clamped is None else grad.masked_fill(clamped, 0.0)


@torch.no_grad()
def gif_encode(
    x: Tensor,
    *,
    num_levels: int,
    num_steps: int = 1,
    salient: Tensor | None = None,
    coding: Coding = "rate",
    ranges: Ranges = "shared",
    signed: bool = False,
    backend: Backend = "auto",
) -> SpikeCode:
    """`functional.gif.gif_encode`, bit-equal, on the chosen backend.

    Args:
        x: `[*B, L, D]` activations, any float dtype, any strides.
        num_levels: Q, levels of one spike.
        num_steps: S, steps of the salient features.
        salient: boolean mask broadcastable to `x`, or None.
        coding: rate, radix or paper.
        ranges: shared or own range of the salient features.
        signed: symmetric spikes without a zero point.
        backend: implementation, see `resolve_backend`.

    Raises:
        ShapeError: `x` is no float tensor with features, or the mask does not fit.
        ConfigError: codes above 2^20.
        BackendError: the backend cannot be had for this device.
    """
    check_gif_input(x, salient)
    check_codes(num_levels, num_steps, coding, salient)
    settings = _keywords(GifLaw(num_levels, num_steps, coding, ranges, signed))
    rows = x.reshape(-1, x.shape[-1])
    counts, scale, zero, _ = encode_rows(
        rows, salient=feature_mask(x, salient), mask=False, backend=backend, **settings
    )
    groups = [*x.shape[:-1], scale.shape[-1]]
    return SpikeCode(
        counts=counts.view(x.shape),
        scale=scale.view(groups),
        zero_point=zero.view(groups),
        salient=salient,
        **settings,
    )


def gif_quantise(
    x: Tensor,
    *,
    num_levels: int,
    num_steps: int = 1,
    salient: Tensor | None = None,
    coding: Coding = "rate",
    ranges: Ranges = "shared",
    signed: bool = False,
    gradient: Gradient = "clipped",
    backend: Backend = "auto",
) -> Tensor:
    """`functional.gif.gif_quantise` with its closed-form backward, on the chosen backend; arguments as there.

    Args:
        x: `[*B, L, D]` activations.
        num_levels: Q, levels of one spike.
        num_steps: S, steps of the salient features.
        salient: boolean mask broadcastable to `x`, or None.
        coding: rate, radix or paper.
        ranges: shared or own range of the salient features.
        signed: symmetric spikes without a zero point.
        gradient: clipped (range held constant) or range.
        backend: implementation, see `resolve_backend`.

    Returns:
        `[*B, L, D]` in the dtype of `x`.

    Numerics: values equal the reference's (a zero may carry the other sign); gradients agree to the rounding of the
        dtype of `x`. A clamped or NaN code passes no gradient.
    """
    check_gif_input(x, salient)
    check_codes(num_levels, num_steps, coding, salient)
    law = GifLaw(num_levels, num_steps, coding, ranges, signed)
    mask = feature_mask(x, salient)
    rows, follow_range = x.reshape(-1, x.shape[-1]), gradient == "range"
    match _chosen(x, mask, backend):
        case "blocked":
            return quantise_blocked(rows, law, mask, follow_range=follow_range).view(x.shape)
        case "native" | "cupy" if wants_operators():
            return operators.quantise(rows, law, mask, follow_range=follow_range).view(x.shape)
        case "native":
            return NativeQuantise.apply(rows, law, mask, follow_range).view(x.shape)
        case "cupy":
            return QuantiseKernel.apply(rows, law, mask, follow_range, CupyLauncher()).view(x.shape)
    return reference.gif_quantise(x, salient=salient, gradient=gradient, **_keywords(law))
