"""Host side of `kernels/cpu/gif.cpp`: outputs, arguments, and autograd.

Axes: `x [R, D]`, scale and zero point `[R, G]`, salient `[D]` boolean, or `[M, D]` for R/M rows each, or None.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from darkit_nb.functional.packed import packed_bytes
from darkit_nb.functional.spike_code import count_dtype
from darkit_nb.ops._gif_blocked import GifLaw
from darkit_nb.ops._native import STREAMED_BYTES, TYPES, UINT4, Record, address, empty, rows_of

_INPUT = "PqqqqPfffqqq"
_gif_forward = Record("dk_gif_forward", _INPUT + "PqqPqPPPq")
_gif_backward = Record("dk_gif_backward", _INPUT + "PPPPqq")
_NO_MEMORY = "no memory for a row of features in float32"


def _inputs(x: Tensor, law: GifLaw, flags: Tensor | None) -> tuple[Any, ...]:
    """What both functions take first; `flags` are the salient features as int32."""
    own = int(law.ranges == "own" and flags is not None)
    caps = (float(law.cap_lo), float(law.cap_hi), float(law.ratio or 0))
    one_mask = 1 if flags is None else x.shape[0] // (flags.numel() // x.shape[1])  # rows it serves
    settings = (*caps, own, int(law.signed), one_mask)
    return x.data_ptr(), TYPES[x.dtype], x.stride(0), *x.shape, address(flags), *settings


def _flags(salient: Tensor | None) -> Tensor | None:
    return None if salient is None else salient.to(torch.int32).contiguous()


def _forward(
    x: Tensor,
    law: GifLaw,
    salient: Tensor | None,
    *,
    counts: Tensor | None = None,
    packed: bool = False,
    centred: bool = False,
    values: Tensor | None = None,
    clamped: Tensor | None = None,
) -> tuple[Tensor, Tensor, int]:
    """Fill what is given; scale, zero point, and how many rows have a clamped code."""
    groups = (x.shape[0], 1 if salient is None else 2)
    scale, zero = empty(groups, torch.float32), empty(groups, torch.int32)
    kinds = [0 if given is None else TYPES[given.dtype] for given in (counts, values)]
    kinds[0] = UINT4 if packed else kinds[0]
    outputs = (address(counts), kinds[0], int(centred), address(values), kinds[1], address(clamped))
    flags = _flags(salient)
    large = max(given.nbytes for given in (counts, values, clamped) if given is not None) >= STREAMED_BYTES
    found = _gif_forward(*_inputs(x, law, flags), *outputs, scale.data_ptr(), zero.data_ptr(), int(large))
    if found < 0:
        raise MemoryError(_NO_MEMORY)
    return scale, zero, found


def _clamped(x: Tensor, law: GifLaw, salient: Tensor | None, rows: int) -> Tensor | None:
    """Mask of clamped codes if `rows` have any: a second pass, for the few inputs that need it."""
    return clamped_codes(x, law, salient) if rows else None


def clamped_codes(x: Tensor, law: GifLaw, salient: Tensor | None) -> Tensor:
    """Which codes of tokens are clamped, `[R, D]` bool."""
    clamped = torch.empty(x.shape, dtype=torch.bool, device="cpu")
    _forward(x, law, salient, clamped=clamped)
    return clamped


def encode(
    x: Tensor, law: GifLaw, salient: Tensor | None, packed: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Counts, scale, zero point and mask of clamped codes of `x`; see `ops.gif.encode_rows`."""
    x = rows_of(x)
    if packed:
        counts = empty((x.shape[0], packed_bytes(x.shape[1], 4)), torch.uint8)
    else:
        counts = empty(x.shape, law.dtype(salient is not None))
    scale, zero, found = _forward(x, law, salient, counts=counts, packed=packed)
    return counts, scale, zero, _clamped(x, law, salient, found)


def quantise_centred(x: Tensor, law: GifLaw, salient: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Values of `x` in float32, their centred counts (counts − zero point), the scale, the mask of clamped codes."""
    x = rows_of(x)
    cap = law.cap_hi if salient is not None else law.cap_lo
    values, centred = empty(x.shape, torch.float32), empty(x.shape, count_dtype(cap, signed=True))
    scale, _, found = _forward(x, law, salient, counts=centred, centred=True, values=values)
    return values, centred, scale, _clamped(x, law, salient, found)


def quantise(x: Tensor, law: GifLaw, salient: Tensor | None) -> tuple[Tensor, Tensor, Tensor, int]:
    """The values the codes of `x` stand for, scale, zero point, and how many rows have a clamped code."""
    values = empty(x.shape, x.dtype)
    return values, *_forward(x, law, salient, values=values)


def differentiate(
    grad: Tensor, x: Tensor, scale: Tensor, zero: Tensor, law: GifLaw, salient: Tensor | None, *, follow_range: bool
) -> Tensor:
    """Gradient of the tokens `x` from that of their values."""
    x, grad = rows_of(x), grad.to(x.dtype).contiguous()
    out, flags = empty(x.shape, x.dtype), _flags(salient)
    tensors = (grad.data_ptr(), scale.data_ptr(), zero.data_ptr(), out.data_ptr())
    if _gif_backward(*_inputs(x, law, flags), *tensors, int(follow_range), int(out.nbytes >= STREAMED_BYTES)) < 0:
        raise MemoryError(_NO_MEMORY)
    return out


class NativeQuantise(torch.autograd.Function):
    """Clipped gradient: saves nothing, or the mask of clamped codes where one was. Else `x` and two numbers a token."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, law: GifLaw, salient: Tensor | None, follow_range: bool) -> Tensor:
        x = rows_of(x)
        values, scale, zero, found = quantise(x, law, salient)
        saved = (x, scale, zero, salient) if follow_range else (_clamped(x, law, salient, found),)
        ctx.save_for_backward(*saved)
        ctx.law, ctx.follow_range = law, follow_range
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if ctx.follow_range:
            x, scale, zero, salient = ctx.saved_tensors
            return differentiate(grad, x, scale, zero, ctx.law, salient, follow_range=True), None, None, None
        (clamped,) = ctx.saved_tensors
        return grad if clamped is None else grad.masked_fill(clamped, 0.0), None, None, None
