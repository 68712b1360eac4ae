"""Attention over spiking keys and values: its definition in plain PyTorch.

Keys and values of every token are encoded by a GIF neuron of their key/value head, each token by itself and before
heads are shared among queries: what a later token is changes no code, and a cache may hold codes. Queries and attention
probabilities stay in float. With k̂, v̂ the values the counts stand for and h the key/value head of a query head,

    y_i = Σ_j softmax_j(scaling · q_i · k̂_hj + mask_ij) · v̂_hj

Counts are integers and a token has one scale and zero point a range group g, so both products are products with counts,

    q · k̂_j = Σ_g s_gj · (q_g · c_gj) − Σ_g s_gj z_gj · Σ q_g          (sums over the features of the group)
    Σ_j p_j v̂_j = Σ_g Σ_j (p_j s_gj) c_gj − Σ_g Σ_j p_j s_gj z_gj     (on the features of the group)

Where groups share their range, s_lo = r · s_hi with an integer r, and one product serves both: r moves into the query.

Source: Xing et al. 2025 (SpikeLLM), section 3, spiking key/value cache; codes a key/value head, for grouped queries,
are this project's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from darkit_nb.errors import ShapeError
from darkit_nb.functional.gif import compute_dtype, gif_quantise
from darkit_nb.functional.spike_code import SpikeCode


def spike_attention(
    query: Float[Tensor, "B Hq Lq K"],
    key: Float[Tensor, "B H L K"],
    value: Float[Tensor, "B H L K"],
    *,
    key_settings: dict[str, Any],
    value_settings: dict[str, Any],
    mask: Tensor | None = None,
    scaling: float | None = None,
) -> Float[Tensor, "B Hq Lq K"]:
    """Encode keys and values, and attend; differentiable straight through both codes.

    Args:
        query: `[B, Hq, Lq, K]`.
        key: `[B, H, L, K]` float keys; Hq is a multiple of H, and query head n reads key/value head n // (Hq / H).
        value: `[B, H, L, K]` float values.
        key_settings: arguments of `gif_quantise` for keys; a salient mask is `[H, 1, K]`, its features their head's.
        value_settings: those for values.
        mask: boolean (true: may be seen) or additive, broadcastable to `[B, Hq, Lq, L]`; None: everything is seen.
        scaling: of the scores; 1/√K if None.

    Returns:
        `[B, Hq, Lq, K]` in the dtype of `query`. A query that sees nothing gives 0.

    Raises:
        ShapeError: query heads that key/value heads do not divide.
    """
    sharing = sharing_of(query.shape[1], key.shape[1])
    key = gif_quantise(key, **key_settings).repeat_interleave(sharing, 1).to(compute_dtype(key))
    value = gif_quantise(value, **value_settings).repeat_interleave(sharing, 1).to(compute_dtype(value))
    scores = query.to(key.dtype) @ key.transpose(-1, -2) * (scaling or 1 / math.sqrt(query.shape[-1]))
    return (attend(scores, mask) @ value).to(query.dtype)


@torch.no_grad()
def spike_attention_product(
    query: Float[Tensor, "B Hq Lq K"],
    key: SpikeCode,
    value: SpikeCode,
    *,
    mask: Tensor | None = None,
    scaling: float | None = None,
) -> Float[Tensor, "B Hq Lq K"]:
    """The integer form, over codes `[B, H, L, K]`: products with counts, scaled and freed of zero points afterwards.

    Numerics: float32 sums of products with integers. Scores agree with those of the dequantised keys to 1e-6 of
        scaling · Σ|q| · cap · s, outputs to 1e-5 of the range of the values.
    """
    heads = key.counts.shape[1]
    rows = grouped_rows(query, heads)
    scores = key_scores(rows, key) * (scaling or 1 / math.sqrt(query.shape[-1]))
    weights = attend(scores.view(*query.shape[:3], -1), mask)
    found = value_sums(weights.view(*rows.shape[:3], -1), value)
    return found.view(*query.shape[:3], found.shape[-1]).to(query.dtype)


def sharing_of(query_heads: int, heads: int) -> int:
    """Query heads that share a key/value head.

    Raises:
        ShapeError: they do not come out even.
    """
    if heads == 0 or query_heads % heads:
        raise ShapeError(
            "These queries cannot share these keys.",
            expected=f"a multiple of {heads} query heads",
            received=f"{query_heads} query heads",
            cause="keys were repeated for the queries before they were encoded, or belong to another model",
        )
    return query_heads // heads


def grouped_rows(query: Float[Tensor, "B Hq Lq K"], heads: int) -> Float[Tensor, "B H R K"]:
    """Queries of all heads that share a key/value head as rows of one product, in the compute dtype."""
    sharing_of(query.shape[1], heads)
    return query.to(compute_dtype(query)).reshape(query.shape[0], heads, -1, query.shape[-1])


def attend(scores: Float[Tensor, "B Hq Lq L"], mask: Tensor | None) -> Float[Tensor, "B Hq Lq L"]:
    """Probabilities of scaled scores; all 0 for a query that sees nothing."""
    if mask is None:
        return scores.softmax(-1)
    if mask.dtype == torch.bool:
        return scores.masked_fill(~mask, -math.inf).softmax(-1).masked_fill(~mask.any(-1, keepdim=True), 0.0)
    return (scores + mask.to(scores.dtype)).softmax(-1)


@dataclass(frozen=True, eq=False)
class GroupMasks:
    """What features of a code have in common with their group, made once for all its tokens.

    Attributes:
        members: `[H, 1, K]` ones at usual features, and ones at salient ones.
        factor: with one scale a token, what it is multiplied with at each feature; None with two scales.
    """

    members: tuple[Tensor, Tensor]
    factor: Tensor | None

    @staticmethod
    def of(salient: Bool[Tensor, "*H K"] | None, ratio: int | None, dtype: torch.dtype) -> GroupMasks | None:
        """For a mask, with `ratio` as `SpikeCode.scale_ratio`; None without salient features."""
        if salient is None:
            return None
        chosen = salient.to(dtype)
        return GroupMasks((1 - chosen, chosen), None if ratio is None else ratio - (ratio - 1) * chosen)


@dataclass(frozen=True, eq=False)
class TokenTerms:
    """What turns products with unsigned counts into products with values, for every token of a code.

    Attributes:
        scales: the scale of every feature as Σ scale · factor, `[B, H, L, 1]` and `[H, 1, K]` or None for 1: one term
            for one scale a token, two for two unrelated ones.
        silences: what a count of 0 stands for, less its sign: scale · zero point of each group, and its members.
    """

    scales: Sequence[tuple[Tensor, Tensor | None]]
    silences: Sequence[tuple[Tensor, Tensor | None]]

    @staticmethod
    def of(
        scale: Float[Tensor, "B H L G"], zero: Tensor | None, masks: GroupMasks | None, dtype: torch.dtype
    ) -> TokenTerms:
        """From scale and zero point of tokens, `zero` None where it is 0."""
        scale = scale.to(dtype)
        silent = None if zero is None else scale * zero.to(dtype)
        if masks is None:
            return TokenTerms([(scale, None)], [] if silent is None else [(silent, None)])
        silences = [] if silent is None else [(silent[..., g : g + 1], masks.members[g]) for g in (0, 1)]
        if masks.factor is not None:
            return TokenTerms([(scale[..., 1:], masks.factor)], silences)
        return TokenTerms([(scale[..., g : g + 1], masks.members[g]) for g in (0, 1)], silences)

    def scores(self, rows: Float[Tensor, "B H R K"], product: Callable[[Tensor], Tensor]) -> Float[Tensor, "B H R L"]:
        """Scores of query rows, where `product` gives those of rows with counts."""
        chosen = [rows if factor is None else rows * factor for _, factor in self.scales]
        parts = product(chosen[0] if len(chosen) == 1 else torch.cat(chosen, 2)).split(rows.shape[2], 2)
        scores = parts[0] * self.scales[0][0].transpose(-1, -2)
        for part, (scale, _) in zip(parts[1:], self.scales[1:], strict=True):
            scores = scores + part * scale.transpose(-1, -2)
        for silent, members in self.silences:
            sums = (rows if members is None else rows * members).sum(-1, keepdim=True)
            scores = scores - sums * silent.transpose(-1, -2)
        return scores

    def sums(self, weights: Float[Tensor, "B H R L"], product: Callable[[Tensor], Tensor]) -> Float[Tensor, "B H R K"]:
        """Weighted sums of values, where `product` gives those of counts."""
        chosen = [weights * scale.transpose(-1, -2) for scale, _ in self.scales]
        parts = product(chosen[0] if len(chosen) == 1 else torch.cat(chosen, 2)).split(weights.shape[2], 2)
        scaled = [
            part if factor is None else part * factor for part, (_, factor) in zip(parts, self.scales, strict=True)
        ]
        sums = scaled[0] if len(scaled) == 1 else scaled[0] + scaled[1]
        for silent, members in self.silences:
            part = weights @ silent
            sums = sums - (part if members is None else part * members)
        return sums


def _terms(code: SpikeCode, dtype: torch.dtype) -> TokenTerms:
    zero = None if code.signed else code.zero_point
    return TokenTerms.of(code.scale, zero, GroupMasks.of(code.salient, code.scale_ratio, dtype), dtype)


def key_scores(rows: Float[Tensor, "B H R K"], code: SpikeCode) -> Float[Tensor, "B H R L"]:
    """Products of query rows with the keys that `code` stands for, unscaled."""
    counts = code.counts.to(rows.dtype).transpose(-1, -2)
    return _terms(code, rows.dtype).scores(rows, lambda chosen: chosen @ counts)


def value_sums(weights: Float[Tensor, "B H R L"], code: SpikeCode) -> Float[Tensor, "B H R K"]:
    """Sums of the values that `code` stands for, weighted by the rows of `weights`."""
    counts = code.counts.to(weights.dtype)
    return _terms(code, weights.dtype).sums(weights, lambda chosen: chosen @ counts)
