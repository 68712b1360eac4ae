"""Rounding with a straight-through gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _RoundStraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.round(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return grad


def round_ste(x: Tensor) -> Tensor:
    """Round half to even; the gradient passes unchanged.

    A Function of its own, because `x + (round(x) - x).detach()` is not an integer once float addition has rounded it.
    """
    return _RoundStraightThrough.apply(x)


def integer_divisor(value: int, like: Tensor) -> Tensor:
    """A 0-d tensor on `like`'s device, to divide by.

    Dividing a CUDA tensor by a Python number (or a CPU scalar) multiplies by the reciprocal, which moves counts.
    """
    return torch.full((), value, dtype=like.dtype, device=like.device)
