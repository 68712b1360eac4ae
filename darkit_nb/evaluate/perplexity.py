"""Perplexity by the protocol of the quantisation literature, and bits per byte."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from darkit_nb.errors import DataError, ModelError
from darkit_nb.records.evaluation import PerplexityResult

CHUNK = 512
"""Tokens whose losses are computed at a time, so that logits exist in float32 only in part."""


@torch.no_grad()
def perplexity(
    model: nn.Module,
    ids: Tensor | Sequence[int],
    *,
    window: int,
    bytes_per_token: float | None = None,
    batch_size: int = 1,
) -> PerplexityResult:
    """Score a token sequence in non-overlapping windows.

    The text is one sequence of tokens, cut into windows; the tail that fills none is dropped. Every window is scored
    on its own: its first token has no context and is not scored, the other window − 1 are. All windows being equally
    long, the mean of their means is the mean over all scored tokens.

    Args:
        model: maps ids `[B, L]` to an output with `logits` `[B, L, V]`; put in evaluation mode meanwhile.
        ids: `[N]` token ids.
        window: L ≥ 2 tokens.
        bytes_per_token: bytes of the text divided by its tokens; without it there are no bits per byte.
        batch_size: windows per forward.

    Raises:
        DataError: fewer tokens than one window.
        ModelError: token ids beyond the model's vocabulary, or a window beyond its context.

    Source: the GPTQ protocol, as in Frantar et al. 2022 section 4 and Xing et al. 2025 (SpikeLLM).
    """
    tokens = torch.as_tensor(ids, dtype=torch.long).flatten()
    _check(model, tokens, window)
    windows = tokens[: len(tokens) // window * window].view(-1, window)
    training = [module for module in model.modules() if module.training]
    total = 0.0
    try:
        model.eval()
        for batch in windows.split(batch_size):
            total += _summed_loss(model, batch)
    finally:
        for module in training:
            module.training = True
    scored = len(windows) * (window - 1)
    loss = total / scored
    return PerplexityResult(
        loss=loss,
        perplexity=math.exp(loss) if loss < 700 else math.inf,
        bits_per_byte=None if bytes_per_token is None else loss / math.log(2) / bytes_per_token,
        window=window,
        windows=len(windows),
        scored_tokens=scored,
        dropped_tokens=len(tokens) - windows.numel(),
        bytes_per_token=bytes_per_token,
    )


def _summed_loss(model: nn.Module, batch: Tensor) -> float:
    batch = batch.to(next(model.parameters()).device)
    logits = model(input_ids=batch, use_cache=False).logits[:, :-1].flatten(0, 1)
    pairs = zip(logits.split(CHUNK), batch[:, 1:].flatten().split(CHUNK), strict=True)
    return sum(float(cross_entropy(part.float(), target, reduction="sum").double()) for part, target in pairs)


def _check(model: nn.Module, tokens: Tensor, window: int) -> None:
    if window < 2 or len(tokens) < window:
        raise DataError(
            "This text is too short to be scored.",
            expected=f"at least one window of {max(2, window)} tokens",
            received=f"{len(tokens)} tokens, window {window}",
            fix=f"give a longer text, or a window of 2 to {len(tokens)}" if len(tokens) > 1 else "give a longer text",
        )
    config = getattr(model, "config", None)
    vocabulary, context = getattr(config, "vocab_size", None), getattr(config, "max_position_embeddings", None)
    if vocabulary is not None and int(tokens.max()) >= vocabulary:
        raise ModelError(
            "The text holds tokens this model does not know.",
            expected=f"token ids below the model's vocabulary of {vocabulary}",
            received=f"token id {int(tokens.max())}",
            cause="the text was tokenised with another tokenizer than the model was trained with",
            fix="use the tokenizer saved beside the model",
        )
    if context is not None and window > context:
        raise ModelError(
            "The window is longer than the model's context.",
            expected=f"a window of 2 to {context} tokens",
            received=str(window),
            fix=f"use window={context}",
        )
