"""Mixing of features as the Kronecker product of two small matrices, in plain PyTorch."""

from __future__ import annotations

from torch import Tensor


def kronecker_mix(x: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """A X B of every row, its features laid out as a box X `[p, q]`; the row times (Aᵀ ⊗ B).

    Args:
        x: `[*B, p·q]`.
        left: A `[p, p]`.
        right: B `[q, q]`.
    """
    # A box a row and no further axes: PyTorch then multiplies without copying.
    box = x.reshape(-1, left.shape[0], right.shape[0])
    return (left @ box @ right).reshape(x.shape)
