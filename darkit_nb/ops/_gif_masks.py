"""Masks of salient features: one for all tokens, or one for each of equal shares of them.

Axes: `R` rows (tokens of all batch axes), `D` features, `M` masks, each for R/M rows in turn: those of key/value heads.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from darkit_nb.errors import ShapeError
from darkit_nb.ops._gif_blocked import GifLaw

Encoded = tuple[Tensor, Tensor, Tensor, Tensor | None]
"""Counts, scale, zero point and which codes were clamped."""


def feature_mask(x: Tensor, salient: Tensor | None) -> Tensor | None:
    """A mask that is the same for every token as `[D]`, any other as `[M, D]`, as few as its shape says."""
    if salient is None:
        return None
    if salient.numel() == salient.shape[-1]:
        return salient.reshape(-1)
    salient = salient.reshape((1,) * (x.dim() - salient.dim()) + salient.shape)
    shared = x.dim() - 1
    while salient.shape[shared - 1] == 1:
        shared -= 1
    return salient.expand(*x.shape[:shared], *salient.shape[shared:]).reshape(-1, x.shape[-1])


def fitting(salient: Tensor, x2d: Tensor) -> Tensor:
    """Masks `[M, D]` as they are, if they share the rows out evenly."""
    if len(x2d) % max(1, len(salient)):
        raise ShapeError(
            "These masks cannot share these tokens out.",
            expected=f"a number of masks that divides {len(x2d)} tokens",
            received=f"{len(salient)} masks",
        )
    return salient


def per_mask(
    encode: Callable[[Tensor, GifLaw, Tensor | None], Encoded], x: Tensor, law: GifLaw, salient: Tensor | None
) -> Encoded:
    """What `encode`, which knows one mask, returns for the rows of every mask."""
    if salient is None or salient.dim() == 1:
        return encode(x, law, salient)
    parts = [encode(rows, law, mask) for rows, mask in zip(x.chunk(len(salient)), salient, strict=True)]
    first, second, third = (torch.cat(each) for each in zip(*(part[:3] for part in parts), strict=True))
    if all(part[3] is None for part in parts):
        return first, second, third, None
    none = torch.zeros(len(x) // len(salient), x.shape[1], dtype=torch.bool)
    return first, second, third, torch.cat([none if flag is None else flag for _, _, _, flag in parts])
