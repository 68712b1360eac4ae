"""The GIF neuron as operators of `torch.library`: what torch.compile writes into a graph, on a CPU and on a GPU.

One schema a function, and one kernel that knows shapes only; behind it the C++ library for CPU tensors and the CUDA
kernels for others. Eager calls go past them: an autograd function costs half of what an operator does.

The two hands report clamped codes in forms of their own, as they do in eager calls: a boolean `[R, D]` on a CPU, one
bit a feature in bytes `[R, ⌈D/8⌉]` on a GPU.

Axes: `x [R, D]`, scale and zero point `[R, G]`, salient `[D]` boolean or None.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from darkit_nb.functional.packed import packed_bytes, unpack_codes
from darkit_nb.functional.spike_code import count_dtype
from darkit_nb.ops import _gif_kernel as kernel
from darkit_nb.ops import _gif_native as native
from darkit_nb.ops._cupy import CupyLauncher
from darkit_nb.ops._gif_blocked import GifLaw
from darkit_nb.ops._native import rows_of

_LAW = "Tensor? salient, int num_levels, int num_steps, str coding, str ranges, bool signed"


def settings_of(law: GifLaw) -> tuple[Any, ...]:
    """The law as the operators take it."""
    return law.num_levels, law.num_steps, law.coding, law.ranges, law.signed


def _law(settings: Sequence[Any]) -> GifLaw:
    return GifLaw(settings[0], settings[1], settings[2], settings[3], settings[4])


def by_kernels(x: Tensor) -> bool:
    """Whether the CUDA kernels compute for `x`, in their forms of results."""
    return x.device.type == "cuda"


def _nothing(x: Tensor) -> Tensor:
    """What stands for None: an operator returns tensors always."""
    return x.new_empty(0, dtype=torch.uint8)


def _mask_form(x: Any) -> tuple[tuple[Any, ...], torch.dtype]:
    """Shape and dtype of a mask of clamped codes."""
    return ((x.shape[0], packed_bytes(x.shape[1], 1)), torch.uint8) if by_kernels(x) else (x.shape, torch.bool)


def _whole_mask(x: Tensor, clamped: Tensor | None) -> Tensor:
    """A graph has to know the shape of a mask, so there is one even where no code was clamped."""
    return torch.zeros(x.shape, dtype=torch.bool) if clamped is None else clamped


def _grouped(x: Tensor, salient: Tensor | None, dtype: torch.dtype) -> Tensor:
    return x.new_empty((x.shape[0], 1 if salient is None else 2), dtype=dtype)


# -- counts -----------------------------------------------------------------------------------------------------------


@torch.library.custom_op(
    "darkit::gif_encode",
    mutates_args=(),
    device_types="cpu",
    schema=f"(Tensor x, {_LAW}, bool packed, bool mask) -> (Tensor, Tensor, Tensor, Tensor)",
)
def _encode_op(x: Any, salient: Any, *settings: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    packed, mask = settings[-2:]
    counts, scale, zero, clamped = native.encode(x, _law(settings), salient, packed)
    return counts, scale, zero, _whole_mask(x, clamped) if mask else _nothing(x)


@_encode_op.register_kernel("cuda")
def _encode_cuda(x: Any, salient: Any, *settings: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    packed, mask = settings[-2:]
    found = kernel.encode(x, _law(settings), salient, CupyLauncher(), packed=packed, mask=mask)
    return found[0], found[1], found[2], _nothing(x) if found[3] is None else found[3]


@_encode_op.register_fake
def _(x: Any, salient: Any, *settings: Any) -> tuple[Tensor, ...]:
    packed, mask = settings[-2:]
    if packed:
        counts = x.new_empty((x.shape[0], packed_bytes(x.shape[1], 4)), dtype=torch.uint8)
    else:
        counts = x.new_empty(x.shape, dtype=_law(settings).dtype(salient is not None))
    shape, dtype = _mask_form(x)
    clamped = x.new_empty(shape, dtype=dtype) if mask else _nothing(x)
    return counts, _grouped(x, salient, torch.float32), _grouped(x, salient, torch.int32), clamped


def encode(
    x: Tensor, law: GifLaw, salient: Tensor | None, *, packed: bool, mask: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """`ops.gif.encode_rows` as one operator."""
    counts, scale, zero, clamped = torch.ops.darkit.gif_encode(x, salient, *settings_of(law), packed, mask)
    return counts, scale, zero, clamped if mask else None


# -- values, and counts to keep ---------------------------------------------------------------------------------------


@torch.library.custom_op(
    "darkit::gif_centred",
    mutates_args=(),
    device_types="cpu",
    schema=f"(Tensor x, {_LAW}) -> (Tensor, Tensor, Tensor, Tensor)",
)
def _centred_op(x: Any, salient: Any, *settings: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    values, centred, scale, clamped = native.quantise_centred(x, _law(settings), salient)
    return values, centred, scale, _whole_mask(x, clamped)


@_centred_op.register_kernel("cuda")
def _centred_cuda(x: Any, salient: Any, *settings: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return kernel.encode_centred(x, _law(settings), salient, CupyLauncher())


@_centred_op.register_fake
def _(x: Any, salient: Any, *settings: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    law = _law(settings)
    values = x.new_empty(x.shape, dtype=x.dtype if by_kernels(x) else torch.float32)
    cap = law.cap_hi if salient is not None else law.cap_lo
    centred = x.new_empty(x.shape, dtype=count_dtype(cap, signed=True))
    shape, dtype = _mask_form(x)
    return values, centred, _grouped(x, salient, torch.float32), x.new_empty(shape, dtype=dtype)


def encode_centred(x: Tensor, law: GifLaw, salient: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`ops.gif.encode_centred` as one operator."""
    return torch.ops.darkit.gif_centred(x, salient, *settings_of(law))


# -- values with a gradient -------------------------------------------------------------------------------------------


@torch.library.custom_op(
    "darkit::gif_clip", mutates_args=(), device_types="cpu", schema="(Tensor grad, Tensor clamped) -> Tensor"
)
def _clip_op(grad: Any, clamped: Any) -> Tensor:
    return grad.masked_fill(unpack_codes(clamped, 1, grad.shape[1]).bool(), 0.0)


@_clip_op.register_kernel("cuda")
def _clip_cuda(grad: Any, clamped: Any) -> Tensor:
    return kernel.clip(grad, clamped, CupyLauncher())


@_clip_op.register_fake
def _(grad: Any, clamped: Any) -> Tensor:
    return grad.new_empty(grad.shape)


def clip(grad: Tensor, clamped: Tensor) -> Tensor:
    """`grad` `[R, D]`, 0 where the bit of a feature is set in `clamped` `[R, ⌈D/8⌉]`."""
    return torch.ops.darkit.gif_clip(grad, clamped)


@torch.library.custom_op(
    "darkit::gif_quantise",
    mutates_args=(),
    device_types="cpu",
    schema=f"(Tensor x, {_LAW}, bool follow_range) -> (Tensor, Tensor, Tensor, Tensor)",
)
def _quantise_op(x: Any, salient: Any, *settings: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    values, scale, zero, _ = native.quantise(rows_of(x), _law(settings), salient)
    return values, scale, zero, _nothing(x)


@_quantise_op.register_kernel("cuda")
def _quantise_cuda(x: Any, salient: Any, *settings: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    found = kernel.quantise(x, _law(settings), salient, CupyLauncher(), mask=not settings[-1])
    return found[0], found[1], found[2], _nothing(x) if found[3] is None else found[3]


@_quantise_op.register_fake
def _(x: Any, salient: Any, *settings: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    shape, dtype = _mask_form(x)
    clamped = x.new_empty(shape, dtype=dtype) if by_kernels(x) and not settings[-1] else _nothing(x)
    return x.new_empty(x.shape), _grouped(x, salient, torch.float32), _grouped(x, salient, torch.int32), clamped


@torch.library.custom_op(
    "darkit::gif_backward",
    mutates_args=(),
    device_types="cpu",
    schema=f"(Tensor grad, Tensor x, Tensor scale, Tensor zero, {_LAW}, bool follow_range) -> Tensor",
)
def _backward_op(grad: Any, x: Any, scale: Any, zero: Any, salient: Any, *settings: Any) -> Tensor:
    return native.differentiate(grad, x, scale, zero, _law(settings), salient, follow_range=bool(settings[-1]))


@_backward_op.register_kernel("cuda")
def _backward_cuda(grad: Any, x: Any, scale: Any, zero: Any, salient: Any, *settings: Any) -> Tensor:
    law = _law(settings)
    if settings[-1]:
        return kernel.differentiate(grad, x, scale, zero, law, salient, CupyLauncher())
    *_, clamped = kernel.quantise(x, law, salient, CupyLauncher(), mask=True)
    return grad if clamped is None else kernel.clip(grad.to(x.dtype), clamped, CupyLauncher())


@_backward_op.register_fake
def _(grad: Any, x: Any, scale: Any, zero: Any, salient: Any, *settings: Any) -> Tensor:
    return x.new_empty(x.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, salient, *ctx.settings = inputs
    # One bit a feature where the kernel wrote it; else the input, from which the backward computes codes again.
    has_bits = by_kernels(x) and not ctx.settings[-1]
    ctx.save_for_backward(*((output[3],) if has_bits else (x, output[1], output[2], salient)))
    ctx.mark_non_differentiable(*output[1:])


def _differentiate(ctx: Any, grad: Tensor, *_: Any) -> tuple[Any, ...]:
    if len(ctx.saved_tensors) == 1:
        found = clip(grad, ctx.saved_tensors[0])
    else:
        x, scale, zero, salient = ctx.saved_tensors
        found = torch.ops.darkit.gif_backward(grad, x, scale, zero, salient, *ctx.settings)
    return found, *(None,) * (1 + len(ctx.settings))


_quantise_op.register_autograd(_differentiate, setup_context=_keep)


def quantise(x: Tensor, law: GifLaw, salient: Tensor | None, *, follow_range: bool) -> Tensor:
    """`ops.gif.gif_quantise` of tokens as one operator with its backward."""
    return torch.ops.darkit.gif_quantise(x, salient, *settings_of(law), follow_range)[0]
