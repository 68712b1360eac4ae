"""Mixing of features by the Kronecker product of two matrices, fast: the law of `functional/kronecker.py`.

Without gradients the C++ library mixes tokens in the cache (`kernels/cpu/rotation.cpp`); else it is PyTorch's products,
whose gradients have a closed form here: autograd's own copies what it transposes.
"""

from __future__ import annotations

from array import array
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from darkit_nb.functional import kronecker as reference
from darkit_nb.ops.backend import wants_operators
from darkit_nb.ops.rotation import by_library, rotate_rows


def kronecker_mix(x: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """`functional.kronecker.kronecker_mix` on the fastest backend.

    Args:
        x: `[*B, a·b]`.
        left: `[a, a]`, multiplied from the left.
        right: `[b, b]`, from the right.

    Returns:
        `[*B, a·b]` in the dtype of `x`, differentiable once.

    Numerics: inputs of half precision are mixed in float32 and rounded once; agrees with the definition to the rounding
        of float32 sums.
    """
    tensors = (x, left, right)
    learns = torch.is_grad_enabled() and any(part.requires_grad for part in tensors)
    alike = all(part.dtype == torch.float32 and part.is_cpu for part in (left, right))
    if learns or not alike or not by_library(x):
        dtype = torch.promote_types(x.dtype, torch.float32)
        tensors = [part.to(dtype) for part in tensors]
        if not learns or wants_operators():
            return reference.kronecker_mix(*tensors).to(x.dtype)
        boxes = tensors[0].reshape(-1, left.shape[0], right.shape[0])
        return _Mix.apply(boxes, *tensors[1:]).view(x.shape).to(x.dtype)
    a, b = left.shape[0], right.shape[0]
    turned, straight = left.detach().t().contiguous(), right.detach().contiguous()
    steps = array("q", (0, 1, a, b, turned.data_ptr(), 0, a, b, 1, straight.data_ptr()))
    return rotate_rows(steps.buffer_info()[0], 2, x, max(a, b))


def _each(matrix: Tensor, boxes: Tensor) -> Tensor:
    """`matrix` times every box."""
    return torch.bmm(matrix.expand(len(boxes), -1, -1), boxes)


class _Mix(torch.autograd.Function):
    """Y = A X B, U = X B: with G of Y and H = Aᵀ G, that of X is H Bᵀ, of B Σ Xᵀ H, of A Σ G Uᵀ."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, left: Tensor, right: Tensor) -> Tensor:
        inner = torch.mm(x.reshape(-1, x.shape[2]), right).view(x.shape)
        ctx.save_for_backward(x, left, right, inner)
        return _each(left, inner)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, left, right, inner = ctx.saved_tensors
        width = x.shape[2]
        behind = _each(left.t(), grad).view(-1, width)
        of_x = torch.mm(behind, right.t()).view(x.shape) if ctx.needs_input_grad[0] else None
        of_left = torch.bmm(grad, inner.transpose(1, 2)).sum(0) if ctx.needs_input_grad[1] else None
        of_right = torch.mm(x.reshape(-1, width).t(), behind) if ctx.needs_input_grad[2] else None
        return of_x, of_left, of_right
