"""Orthogonal mixing of features without a matrix: the Hadamard transform for any width, in plain PyTorch.

A width n = 2^a · m with m odd is laid out as a box of a binary axes and one axis of m; every axis is mixed by a small
symmetric orthogonal matrix, so that the whole is their Kronecker product:

    H_2 = [[1, 1], [1, −1]] / √2          on each binary axis (the Walsh–Hadamard transform)
    C_m[j, k] = cas(2π j k / m) / √m      on the odd axis (the discrete Hartley transform), cas = cos + sin

Each factor is its own inverse, and so is the whole: `hadamard_transform` applied twice gives the input back. Binary
axes are mixed up to six at a time, by one product with a 64 × 64 matrix; the cost is at most n · (64 · ⌈a/6⌉ + m)
products.

Source: the fast Walsh–Hadamard transform; Hartley 1942 for the factor of odd width; Ashkboos et al. 2024 (QuaRot) for
its use before quantisation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from darkit_nb.errors import ShapeError

CHUNK = 6
"""Binary axes mixed by one product: 64 × 64 is a comfortable tile for every machine."""


def transform_factors(width: int) -> tuple[int, ...]:
    """Widths of the small matrices whose Kronecker product mixes `width` features: powers of two up to 64, then m."""
    binary = (width & -width).bit_length() - 1
    odd = width >> binary
    chunks = [2**CHUNK] * (binary // CHUNK) + ([2 ** (binary % CHUNK)] if binary % CHUNK else [])
    return (*chunks, *([odd] if odd > 1 else []))


@lru_cache(maxsize=64)
def mixing_matrix(width: int) -> Tensor:
    """The small symmetric orthogonal matrix of one factor, `[width, width]` float64."""
    if width & (width - 1) == 0:
        matrix = torch.ones(1, 1, dtype=torch.float64)
        while matrix.shape[0] < width:
            matrix = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64), matrix)
        return matrix / math.sqrt(width)
    index = torch.arange(width)
    # The product modulo the width first: exact angles for every width.
    angle = (index[:, None] * index % width).double() * (2 * math.pi / width)
    return (angle.cos() + angle.sin()) / math.sqrt(width)


def hadamard_transform(x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
    """Mix the last axis of `x` orthogonally, whatever its width; its own inverse.

    Numerics: float32 for every dtype below it, the dtype of `x` otherwise; returned in the dtype of `x`.
    """
    width = x.shape[-1]
    y = x.to(torch.promote_types(x.dtype, torch.float32))
    before = 1
    for size in transform_factors(width):
        matrix = mixing_matrix(size).to(device=y.device, dtype=y.dtype)
        # [outer, size, inner]: the axis of this factor, everything after it side by side.
        y = matrix @ y.reshape(-1, size, width // (before * size))
        before *= size
    return y.reshape(x.shape).to(x.dtype)


def check_blocks(x: Tensor, blocks: Sequence[int]) -> None:
    """Raise ShapeError unless the blocks make up the features of `x`."""
    if sum(blocks) != x.shape[-1] or min(blocks, default=0) < 1:
        raise ShapeError(
            "The blocks of a rotation do not make up the features.",
            expected=f"positive widths that add up to {x.shape[-1]}",
            received=str(list(blocks)),
        )


def block_rotation(
    x: Float[Tensor, "*B D"], blocks: Sequence[int], signs: Tensor | None = None
) -> Float[Tensor, "*B D"]:
    """x · R with R = diag(signs) · blockdiag(H_b for b in blocks): features mix within their block only.

    Args:
        x: `[*B, D]`.
        blocks: widths, in the order of features; together D.
        signs: ±1 `[D]` of any dtype; None leaves signs as they are.

    Raises:
        ShapeError: the blocks do not make up the features.
    """
    check_blocks(x, blocks)
    if signs is not None:
        x = x * signs.to(x.dtype)
    if len(blocks) == 1:
        return hadamard_transform(x)
    return torch.cat([hadamard_transform(part) for part in x.split(list(blocks), -1)], -1)


def narrow_range(x: Float[Tensor, "*B D"], share: float) -> Float[Tensor, "*B D"]:
    """Cut each token to a share of its range, so that a uniform quantiser behind takes finer steps.

        clamp(x, share · min(x, 0), share · max(x, 0)),     minimum and maximum over the last axis

    Mixed features are nearly Gaussian: over hundreds of them the range grows like √(2 ln D), beyond what a grid of 16
    values spends best. Source: the activation clipping of Ashkboos et al. 2024 (QuaRot, section 4).
    """
    low, high = x.amin(-1, keepdim=True).clamp(max=0), x.amax(-1, keepdim=True).clamp(min=0)
    return torch.clamp(x, low * share, high * share)


def rotation_matrix(blocks: Sequence[int], signs: Tensor | None = None) -> Float[Tensor, "D D"]:
    """The matrix R of `block_rotation`, float64, to be folded into weights."""
    return block_rotation(torch.eye(sum(blocks), dtype=torch.float64), blocks, signs)


def random_signs(width: int, seed: int) -> Tensor:
    """±1 `[width]` int8, the same for the same seed everywhere."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randint(0, 2, (width,), generator=generator) * 2 - 1).to(torch.int8)
