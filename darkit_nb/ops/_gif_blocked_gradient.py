"""Quantised tokens with their closed-form backward, by cache blocks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from darkit_nb.ops import _gif_blocked as blocked
from darkit_nb.ops import _gif_range
from darkit_nb.ops._gif_blocked import GifLaw


class _QuantiseClipped(torch.autograd.Function):
    """Saves nothing but the mask of clamped codes, and that only where one was."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, law: GifLaw, salient: Tensor | None) -> Tensor:
        values, _, clamped = blocked.quantise(x, law, salient)
        ctx.save_for_backward(clamped)
        return values

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (clamped,) = ctx.saved_tensors
        return grad if clamped is None else grad.masked_fill(clamped, 0.0), None, None


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


def quantise_blocked(rows: Tensor, law: GifLaw, mask: Tensor | None, *, follow_range: bool) -> Tensor:
    """`ops.gif.gif_quantise` of tokens `[R, D]`.

    Args:
        rows: tokens.
        law: settings.
        mask: salient features, `[D]`, or `[M, D]` for R/M tokens each, or None.
        follow_range: whether the gradient follows the range, or holds it constant.
    """
    function = _QuantiseRange if follow_range else _QuantiseClipped
    if mask is None or mask.dim() == 1:
        return function.apply(rows, law, mask)
    parts = zip(rows.chunk(len(mask)), mask, strict=True)
    return torch.cat([function.apply(part, law, one) for part, one in parts])
