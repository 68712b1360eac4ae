"""Attention over packed keys and values, fast: the law of `functional/spike_attention.py` without unpacking a cache.

One token that is generated reads the whole cache once, so bytes decide. The C++ library unpacks them in registers.
Without it, codes are unpacked and multiplied a block of tokens at a time, small enough that what was unpacked is still
in the processor's cache when it is multiplied.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from darkit_nb.functional.packed_spikes import PackedSpikes
from darkit_nb.functional.spike_attention import TokenTerms, attend, grouped_rows, key_scores, value_sums
from darkit_nb.ops._attention_native import PackedProducts, constants_of, fits
from darkit_nb.ops.backend import resolve_backend
from darkit_nb.records.spike_spec import Backend

BLOCK_BYTES = 2**18
"""Float32 values of one block of tokens: a quarter of a usual second-level cache. On a GPU there is one block."""

MOST_ROWS = 16
"""Query rows a key/value head up to which products with counts beat unpacking everything for a flash kernel."""


@torch.no_grad()
def spike_attention(
    query: Tensor,
    key: PackedSpikes,
    value: PackedSpikes,
    *,
    mask: Tensor | None = None,
    scaling: float | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """`functional.spike_attention.spike_attention_product` over packed codes.

    Args:
        query: `[B, Hq, Lq, K]`, few tokens: the one being generated.
        key: packed codes of `[B, H, L, K]` keys.
        value: packed codes of as many values.
        mask: boolean or additive, broadcastable to `[B, Hq, Lq, L]`, or None.
        scaling: of the scores; 1/√K if None.
        backend: native reads packed bytes as they are; all others share one that unpacks blocks.

    Returns:
        `[B, Hq, Lq, K]` in the dtype of `query`.

    Raises:
        ShapeError: query heads that key/value heads do not divide.
        BackendError: the backend cannot be had for this device.

    Numerics: as stated there; blocks of tokens are summed one after the other.
    """
    rows = grouped_rows(query, key.shape[1])
    native = resolve_backend(backend, query.device).name == "native"
    scores = (_native_scores if native and fits(key, rows) else _blocked_scores)(rows, key)
    scores = scores.view(*query.shape[:3], -1) * (scaling or 1 / math.sqrt(query.shape[-1]))
    weights = attend(scores, mask).view(*rows.shape[:3], -1)
    found = (_native_sums if native and fits(value, weights) else _blocked_sums)(weights, value)
    return found.reshape(*query.shape[:3], -1).to(query.dtype)


def _terms(packed: PackedSpikes) -> TokenTerms:
    scale, zero = packed.token_values()
    return TokenTerms.of(scale, zero, constants_of(packed.layout).masks, torch.float32)


def _native_scores(rows: Tensor, key: PackedSpikes) -> Tensor:
    return _terms(key).scores(rows, PackedProducts(key).scores)


def _native_sums(weights: Tensor, value: PackedSpikes) -> Tensor:
    return _terms(value).sums(weights, PackedProducts(value).sums)


def _blocked_scores(rows: Tensor, key: PackedSpikes) -> Tensor:
    parts = [key_scores(rows, key.tokens(*span).unpack()) for span in _blocks(key)]
    return torch.cat(parts, -1) if len(parts) > 1 else parts[0]


def _blocked_sums(weights: Tensor, value: PackedSpikes) -> Tensor:
    sums = [value_sums(weights[..., begin:end], value.tokens(begin, end).unpack()) for begin, end in _blocks(value)]
    return sum(sums[1:], start=sums[0])


def _blocks(packed: PackedSpikes) -> Iterator[tuple[int, int]]:
    """Spans of tokens that make a block."""
    batch, heads, tokens, width = packed.shape
    each = tokens if packed.low.device.type != "cpu" else max(1, BLOCK_BYTES // (4 * batch * heads * width))
    for begin in range(0, max(tokens, 1), max(each, 1)):
        yield begin, min(begin + each, tokens)
