"""The GIF neuron, fast: the law of `functional/gif.py` on the backend that suits the device.

Axes: `R` rows (tokens of all batch axes), `D` features, `G` range groups (1, or 2 = normal, salient), `M` masks, each
for R/M rows in turn: those of key/value heads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from darkit_nb.errors import ShapeError
from darkit_nb.functional import gif as reference
from darkit_nb.functional.gif import check_codes, check_gif_input, check_packs
from darkit_nb.functional.packed import pack_codes
from darkit_nb.functional.spike_code import SpikeCode, count_dtype
from darkit_nb.ops import _gif_blocked as blocked
from darkit_nb.ops import _gif_kernel, _gif_range
from darkit_nb.ops import _gif_native as native
from darkit_nb.ops import _gif_operators as operators
from darkit_nb.ops._cupy import CupyLauncher
from darkit_nb.ops._gif_blocked import GifLaw
from darkit_nb.ops._gif_kernel import QuantiseKernel
from darkit_nb.ops._gif_native import NativeQuantise
from darkit_nb.ops._gif_operators import settings_of
from darkit_nb.ops.backend import backend_name, exporting, wants_operators
from darkit_nb.records.spike_spec import Backend, Coding, Gradient, Ranges

Encoded = tuple[Tensor, Tensor, Tensor, Tensor | None]
LEAST_BLOCK = 32768
"""Elements of the rows of one mask from which cache blocks are faster than the definition on all of them."""


def _keywords(law: GifLaw) -> dict[str, Any]:
    """The settings by name; `vars` of an object breaks a graph of torch 2.11."""
    return dict(zip(_SETTINGS, settings_of(law), strict=True))


_SETTINGS = ("num_levels", "num_steps", "coding", "ranges", "signed")


def _feature_mask(x: Tensor, salient: Tensor | None) -> Tensor | None:
    """A mask that is the same for every token as `[D]`, any other as `[M, D]`, as few as its shape says."""
    if salient is None:
        return None
    if salient.numel() == salient.shape[-1]:
        return salient.reshape(-1)
    salient = salient.reshape((1,) * (x.dim() - salient.dim()) + salient.shape)
    shared = x.dim() - 1
    while salient.shape[shared - 1] == 1:
        shared -= 1
    return salient.expand(*x.shape[:shared], *salient.shape[shared:]).reshape(-1, x.shape[-1])


def _fitting(salient: Tensor, x2d: Tensor) -> Tensor:
    """Masks `[M, D]` as they are, if they share the rows out evenly."""
    if len(x2d) % max(1, len(salient)):
        raise ShapeError(
            "These masks cannot share these tokens out.",
            expected=f"a number of masks that divides {len(x2d)} tokens",
            received=f"{len(salient)} masks",
        )
    return salient


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


def _per_mask(
    encode: Callable[[Tensor, GifLaw, Tensor | None], Encoded], x: Tensor, law: GifLaw, salient: Tensor | None
) -> Encoded:
    """What `encode`, which knows one mask, returns for the rows of every mask."""
    if salient is None or salient.dim() == 1:
        return encode(x, law, salient)
    parts = [encode(rows, law, mask) for rows, mask in zip(x.chunk(len(salient)), salient, strict=True)]
    first, second, third = (torch.cat(each) for each in zip(*(part[:3] for part in parts), strict=True))
    if all(part[3] is None for part in parts):
        return first, second, third, None
    none = torch.zeros(len(x) // len(salient), x.shape[1], dtype=torch.bool)
    return first, second, third, torch.cat([none if flag is None else flag for _, _, _, flag in parts])


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
        salient = salient.reshape(-1) if salient.numel() == salient.shape[-1] else _fitting(salient, x2d)
    if packed:
        check_packs(law.cap_lo if salient is None else law.cap_hi, signed)
    match _chosen(x2d, salient, backend):
        case "blocked":
            found = _per_mask(blocked.encode, x2d, law, salient)
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
            return _per_mask(blocked.quantise_centred, x2d, law, salient)
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
        rows, salient=_feature_mask(x, salient), mask=False, backend=backend, **settings
    )
    groups = [*x.shape[:-1], scale.shape[-1]]
    return SpikeCode(
        counts=counts.view(x.shape),
        scale=scale.view(groups),
        zero_point=zero.view(groups),
        salient=salient,
        **settings,
    )


class _QuantiseClipped(torch.autograd.Function):
    """Saves nothing but the mask of clamped codes, and that only where one was."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, law: GifLaw, salient: Tensor | None) -> Tensor:
        values, _, clamped = blocked.quantise(x, law, salient)
        ctx.save_for_backward(clamped)
        return values

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return clip_gradient(grad, *ctx.saved_tensors), None, None


class _QuantiseRange(torch.autograd.Function):
    """Saves the input and two numbers per token; codes are computed again in the backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, law: GifLaw, salient: Tensor | None) -> Tensor:
        values, found, clamped = blocked.quantise(x, law, salient)
        ctx.save_for_backward(x, found.scale, found.zero, salient, clamped)
        ctx.law = law
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, scale, zero, salient, clamped = ctx.saved_tensors
        return _gif_range.range_gradient(grad, x, scale, zero, salient, clamped, ctx.law), None, None


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
    mask = _feature_mask(x, salient)
    rows, follow_range = x.reshape(-1, x.shape[-1]), gradient == "range"
    match _chosen(x, mask, backend):
        case "blocked":
            function = _QuantiseRange if follow_range else _QuantiseClipped
            if mask is None or mask.dim() == 1:
                return function.apply(rows, law, mask).view(x.shape)
            parts = zip(rows.chunk(len(mask)), mask, strict=True)
            return torch.cat([function.apply(part, law, one) for part, one in parts]).view(x.shape)
        case "native" | "cupy" if wants_operators():
            return operators.quantise(rows, law, mask, follow_range=follow_range).view(x.shape)
        case "native":
            return NativeQuantise.apply(rows, law, mask, follow_range).view(x.shape)
        case "cupy":
            return QuantiseKernel.apply(rows, law, mask, follow_range, CupyLauncher()).view(x.shape)
    return reference.gif_quantise(x, salient=salient, gradient=gradient, **_keywords(law))
