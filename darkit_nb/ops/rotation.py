"""Mixing of features while a model runs, fast: the law of `functional/rotation.py`.

The C++ library mixes tokens in the cache; elsewhere, in double, and where operations are watched, compiled or exported,
it is PyTorch's own operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from darkit_nb.functional import rotation as reference
from darkit_nb.ops._native import TYPES, Record, address, empty, scratch, tokens_of
from darkit_nb.ops.backend import backend_name

_rotate = Record("dk_rotate", "PqPqqqqPPqfPqPq")
_FLOATS = (torch.float32, torch.float16, torch.bfloat16)
WIDEST_VECTOR = 64
"""Bytes; a token and an axis of it need a vector for every number."""
Plan = tuple[Tensor, list[Tensor], int]
"""Steps as the library reads them; what makes them orthogonal, `[D]`, and their matrices; the longest of these."""


def block_rotation(
    x: Tensor,
    blocks: Sequence[int],
    signs: Tensor | None = None,
    *,
    keep: float = 1.0,
    before: Tensor | None = None,
) -> Tensor:
    """`functional.rotation.block_rotation` on the fastest backend; differentiable in `x`.

    Args:
        x: `[*B, D]`.
        blocks: widths, in the order of features; together D.
        signs: ±1 `[D]` of any dtype, or None.
        keep: share of each token's range that is let through in the last block (`functional.rotation.narrow_range`).
        before: what `factors_before` gave for these blocks and signs, or None.

    Raises:
        ShapeError: the blocks do not make up the features.

    Numerics: agrees with the definition to the rounding of float32 sums; a token comes out the same alone and among
        others.
    """
    reference.check_blocks(x, blocks)
    if not by_library(x):
        return cut_last(reference.block_rotation(x, blocks, signs), blocks, keep)
    if torch.is_grad_enabled() and x.requires_grad:
        factor = None if signs is None else signs.to(torch.float32)
        return cut_last(_BlockRotation.apply(x, tuple(blocks), factor, False), blocks, keep)
    return _mixed(x, tuple(blocks), factors_before(blocks, signs) if before is None else before, None, keep)


def factors_before(blocks: Sequence[int], signs: Tensor | None) -> Tensor:
    """What a token is multiplied with before the library mixes it, float32 `[D]`: made once for many tokens."""
    scale = _plan(tuple(blocks))[1][0]
    return scale if signs is None else scale * signs.to(torch.float32)


def cut_last(mixed: Tensor, blocks: Sequence[int], keep: float) -> Tensor:
    """Mixed features with the range of their last block cut to the share `keep` of it."""
    if keep == 1.0:
        return mixed
    first, last = mixed.split([mixed.shape[-1] - blocks[-1], blocks[-1]], -1)
    return torch.cat([first, reference.narrow_range(last, keep)], -1)


def range_cut(x: Tensor, begin: int, keep: float) -> Tensor:
    """Tokens whose features from `begin` on are cut to the share `keep` of their range; differentiable in `x`.

    Numerics: equal to the definition, `functional.rotation.narrow_range`.
    """
    if keep == 1.0 or not by_library(x) or (torch.is_grad_enabled() and x.requires_grad):
        return cut_last(x, (begin, x.shape[-1] - begin), keep)
    return rotate_rows(0, 0, x, 1, (0, 0, begin, keep))


class _BlockRotation(torch.autograd.Function):
    """x · diag(signs) · H and its transpose, x · H · diag(signs): H, blockdiag of symmetric matrices, is symmetric."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, blocks: tuple[int, ...], signs: Tensor | None, transposed: bool) -> Tensor:
        ctx.blocks, ctx.transposed = blocks, transposed
        ctx.save_for_backward(signs)
        return _rotated(x, blocks, signs, transposed)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _BlockRotation.apply(grad, ctx.blocks, *ctx.saved_tensors, not ctx.transposed), None, None, None


def by_library(x: Tensor) -> bool:
    """Whether the library may mix `x`: elsewhere, in double and under somebody's eyes PyTorch does."""
    plain = torch.compiler.is_compiling() or torch.compiler.is_exporting() or is_in_torch_dispatch_mode()
    return x.dtype in _FLOATS and x.numel() > 0 and not plain and x.is_cpu and backend_name("auto", "cpu") == "native"


@cache
def _plan(blocks: tuple[int, ...]) -> Plan:
    """The transforms of these blocks: a step is (first feature, outer, size, inner, matrix) of an axis of a box."""
    plain: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}
    scale = torch.cat([torch.full((width,), (width & -width) ** -0.5, **plain) for width in blocks])
    words, kept, begin = [], [scale], 0
    for width in blocks:
        binary = width & -width
        odd = width // binary
        if binary > 1:
            words.append((begin, 1, binary, odd, 0))
        if odd > 1:
            kept.append(reference.mixing_matrix(odd).float())
            words.append((begin, binary, odd, 1, address(kept[-1])))
        begin += width
    return torch.tensor(words, dtype=torch.int64, device="cpu").reshape(-1, 5), kept, max(map(len, kept[1:]), default=1)


def _rotated(x: Tensor, blocks: tuple[int, ...], signs: Tensor | None, transposed: bool) -> Tensor:
    if transposed:
        return _mixed(x, blocks, factors_before(blocks, None), signs)
    return _mixed(x, blocks, factors_before(blocks, signs), None)


def _mixed(x: Tensor, blocks: tuple[int, ...], before: Tensor, after: Tensor | None, keep: float = 1.0) -> Tensor:
    words, _, widest = _plan(blocks)
    cut = (x.shape[-1] - blocks[-1], keep)
    return rotate_rows(words.data_ptr(), words.shape[0], x, widest, (address(before), address(after), *cut))


def rotate_rows(
    steps: int, count: int, x: Tensor, widest: int, around: tuple[int, int, int, float] = (0, 0, 0, 1.0)
) -> Tensor:
    """`x` `[*B, D]` after mixing steps of the library.

    Args:
        steps: address of the steps.
        count: how many there are.
        x: tokens.
        widest: no matrix among the steps is wider.
        around: addresses of factors before and behind, 0 for none; from which feature on the range is cut, and to
            which share of it.
    """
    y, features = empty(x.shape, x.dtype), x.shape[-1]
    x, stride, rows = tokens_of(x)
    source = (x.data_ptr(), TYPES[x.dtype], stride, rows, features)
    each = (features + widest) * WIDEST_VECTOR
    room = scratch(each * torch.get_num_threads())
    _rotate(steps, count, *source, *around, y.data_ptr(), TYPES[x.dtype], room, each)
    return y
