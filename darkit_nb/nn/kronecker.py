"""`KroneckerTransform`: an invertible mixing of features as the Kronecker product of two small matrices."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from darkit_nb.functional.rotation import hadamard_transform
from darkit_nb.ops.kronecker import kronecker_mix


def kronecker_factors(width: int) -> tuple[int, int]:
    """a and b with a · b = width, as near to each other as the width allows, a ≤ b."""
    a = next(candidate for candidate in range(math.isqrt(width), 0, -1) if width % candidate == 0)
    return a, width // a


class KroneckerTransform(nn.Module):
    """x · (L ⊗ R): features laid out as a box `[a, b]`, every axis mixed by a matrix of its own.

    It costs D(a + b) products a token instead of D². The weight behind it absorbs the inverse, so that the function
    stays: x Wᵀ = (x (L ⊗ R)) (W (L ⊗ R)⁻ᵀ)ᵀ.

    Args:
        left: a, width of L.
        right: b, width of R.
        device: of the matrices.

    Shape: `[*B, a·b] → [*B, a·b]`.

    Attributes:
        left: L `[a, a]`, Hadamard at the beginning; saved. It stays float32 in a model of half precision.
        right: R `[b, b]`, likewise.

    Numerics: products of inputs in half precision are made in float32 and rounded once: rounded matrices would no
    longer undo what the weight behind them absorbed.

    Source: Sun et al. 2024 (FlatQuant, arXiv 2410.09426), section 3.1.
    """

    left: nn.Parameter
    right: nn.Parameter

    def __init__(self, left: int, right: int, device: torch.device | str | None = None) -> None:
        super().__init__()
        self.left = nn.Parameter(hadamard_transform(torch.eye(left, dtype=torch.float32)).to(device))
        self.right = nn.Parameter(hadamard_transform(torch.eye(right, dtype=torch.float32)).to(device))

    @property
    def features(self) -> int:
        """D, the width it mixes."""
        return self.left.shape[0] * self.right.shape[0]

    def forward(self, x: Tensor) -> Tensor:
        """Mix the last axis of `x`."""
        return kronecker_mix(x, self.left.T, self.right)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """The matrices move with the model and keep their precision."""
        kept = [matrix.detach() for matrix in (self.left, self.right)]
        super()._apply(fn, recurse)
        for matrix, before in zip((self.left, self.right), kept, strict=True):
            if torch.finfo(matrix.dtype).bits < torch.finfo(before.dtype).bits:
                matrix.data = before.to(matrix.device)
        return self

    def undone_in(self, weight: Tensor) -> Tensor:
        """W (L ⊗ R)⁻ᵀ of a weight `[O, D]` that reads what this gives out; differentiable."""
        return kronecker_mix(weight, *self.inverse(weight.dtype))

    def inverse(self, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """L⁻¹ and R⁻ᵀ, which `kronecker_mix` undoes this with in a weight; differentiable."""
        left, right = (torch.linalg.inv(matrix.to(dtype)) for matrix in (self.left, self.right))
        return left, right.T

    def extra_repr(self) -> str:
        """What mixes, for `print(model)`."""
        return f"{self.left.shape[0]} ⊗ {self.right.shape[0]}"
