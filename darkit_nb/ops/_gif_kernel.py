"""Host side of `kernels/gif.cu`: outputs, arguments, and the autograd function around it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from darkit_nb.ops._gif_blocked import GifLaw
from darkit_nb.ops._launch import MAX_BLOCKS, Q_CODES, X_CODES, Launch, Launcher

THREADS = 128


def _plan(function: str, x: Tensor, law: GifLaw, tensors: tuple[Tensor | None, ...], *, follow_range: bool) -> Launch:
    rows, features = x.shape
    # Which dtype counts have matters to the forward only; the backward shares one module among all of them.
    counts = tensors[2] if function == "gif_forward" else None
    defines = (
        ("DK_X", X_CODES[x.dtype]),
        ("DK_Q", 0 if counts is None else Q_CODES[counts.dtype]),
        ("DK_RANGE", int(follow_range)),
        ("DK_THREADS", THREADS),
    )
    own = law.ranges == "own" and tensors[1 if function == "gif_forward" else 2] is not None
    numbers = (rows, features, float(law.cap_lo), float(law.cap_hi), float(law.ratio or 0), int(own), int(law.signed))
    return Launch("gif", function, defines, (min(rows, MAX_BLOCKS), 1), THREADS, (*tensors, *numbers))


def _forward(
    x: Tensor,
    law: GifLaw,
    salient: Tensor | None,
    launcher: Launcher,
    counts: Tensor | None,
    values: Tensor | None,
    clamped: Tensor | None,
) -> tuple[Tensor, Tensor]:
    groups = 1 if salient is None else 2
    scale = torch.empty(x.shape[0], groups, dtype=torch.float32, device=x.device)
    zero = torch.empty(x.shape[0], groups, dtype=torch.int32, device=x.device)
    tensors = (x, salient, counts, values, clamped, scale, zero)
    launcher.launch(_plan("gif_forward", x, law, tensors, follow_range=False))
    return scale, zero


def encode(x: Tensor, law: GifLaw, salient: Tensor | None, launcher: Launcher) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Counts, scale, zero point and mask of clamped codes of `x` `[R, D]`; see `ops.gif.encode_rows`."""
    x = x.contiguous()
    counts = torch.empty(x.shape, dtype=law.dtype(salient is not None), device=x.device)
    clamped = torch.empty(x.shape, dtype=torch.bool, device=x.device)
    scale, zero = _forward(x, law, salient, launcher, counts, None, clamped)
    return counts, scale, zero, clamped


class QuantiseKernel(torch.autograd.Function):
    """Quantise `x` `[R, D]` and read the value back; saves `x` and two numbers per token."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, law: GifLaw, salient: Tensor | None, follow_range: bool, launcher: Launcher
    ) -> Tensor:
        x = x.contiguous()
        values = torch.empty_like(x)
        scale, zero = _forward(x, law, salient, launcher, None, values, None)
        ctx.save_for_backward(x, salient, scale, zero)
        ctx.law, ctx.follow_range, ctx.launcher = law, follow_range, launcher
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, salient, scale, zero = ctx.saved_tensors
        out = torch.empty_like(x)
        tensors = (grad.to(x.dtype).contiguous(), x, salient, scale, zero, out)
        ctx.launcher.launch(_plan("gif_backward", x, ctx.law, tensors, follow_range=ctx.follow_range))
        return out, None, None, None, None
