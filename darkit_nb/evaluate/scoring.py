"""Scores of a text: the loss of every window, and perplexity by the protocol of the quantisation literature."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from darkit_nb.errors import DataError, ModelError
from darkit_nb.records.evaluation import PerplexityResult
from darkit_nb.records.paired import WindowLosses
from darkit_nb.trace.mode import evaluating

CHUNK = 128
"""Tokens whose losses are computed at a time, so that of large vocabularies probabilities exist only in part."""

OnWindow = Callable[[int, int], None]


@torch.no_grad()
def window_losses(
    model: nn.Module,
    ids: Tensor | Sequence[int],
    *,
    window: int,
    text: str = "",
    bytes_per_token: float = 1.0,
    batch_size: int = 1,
    on_window: OnWindow | None = None,
) -> WindowLosses:
    """Score a token sequence in windows that do not overlap, each on its own, from its second token on.

    Args:
        model: maps ids `[B, L]` to an output with `logits` `[B, L, V]`; put in evaluation mode meanwhile.
        ids: `[N]` token ids; the tail that fills no window is dropped.
        window: L ≥ 2 tokens.
        text: what the text is called.
        bytes_per_token: bytes of the text divided by its tokens.
        batch_size: windows per forward.
        on_window: called with (windows done, windows) after each forward.

    Raises:
        DataError: fewer tokens than one window, or numbers that are no token ids.
        ModelError: token ids beyond the model's vocabulary, or a window beyond its context.
    """
    tokens = _tokens(ids)
    check_tokens(model, tokens, window)
    windows = tokens[: len(tokens) // window * window].view(-1, window)
    nats: list[float] = []
    with evaluating(model):
        for batch in windows.split(batch_size):
            nats += _losses(model, batch)
            if on_window is not None:
                on_window(len(nats), len(windows))
    digest = sha256(windows.contiguous().numpy().tobytes()).hexdigest()
    return WindowLosses(text=text, window=window, bytes_per_token=bytes_per_token, nats=tuple(nats), text_sha256=digest)


def perplexity(
    model: nn.Module,
    ids: Tensor | Sequence[int],
    *,
    window: int,
    bytes_per_token: float | None = None,
    batch_size: int = 1,
    on_window: OnWindow | None = None,
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
        on_window: called with (windows done, windows) after each forward.

    Raises:
        DataError: fewer tokens than one window, or numbers that are no token ids.
        ModelError: token ids beyond the model's vocabulary, or a window beyond its context.

    Source: the GPTQ protocol, as in Frantar et al. 2022 section 4 and Xing et al. 2025 (SpikeLLM).
    """
    tokens = _tokens(ids)
    losses = window_losses(
        model,
        tokens,
        window=window,
        bytes_per_token=bytes_per_token or 1.0,
        batch_size=batch_size,
        on_window=on_window,
    )
    windows = len(losses.nats)
    return PerplexityResult(
        loss=losses.loss,
        perplexity=losses.perplexity,
        bits_per_byte=None if bytes_per_token is None else losses.bits_per_byte,
        window=window,
        windows=windows,
        scored_tokens=windows * (window - 1),
        dropped_tokens=len(tokens) - windows * window,
        bytes_per_token=bytes_per_token,
    )


def _tokens(ids: Tensor | Sequence[int]) -> Tensor:
    """`[N]` int64."""
    tokens = torch.as_tensor(ids).flatten()
    if tokens.numel() and (tokens.is_floating_point() or tokens.dtype == torch.bool or int(tokens.min()) < 0):
        kind = str(tokens.dtype).removeprefix("torch.")
        raise DataError(
            "These numbers are no token ids.",
            expected="integers from 0",
            received=f"{kind} from {tokens.min().item()}",
            cause="logits, a mask, or labels in which -100 marks what is not scored",
            fix="tokenizer(text, return_tensors='pt').input_ids gives ids",
        )
    return tokens.long()


def _losses(model: nn.Module, batch: Tensor) -> list[float]:
    """Mean loss of a scored token, for each window of `batch` `[B, L]`."""
    batch = batch.to(next(iter((*model.parameters(), *model.buffers()))).device)
    logits = model(input_ids=batch, use_cache=False).logits
    # Window by window: flattened without their last tokens, logits would be copied.
    pairs = ((part, target) for window, ids in zip(logits, batch, strict=True) for part, target in _chunks(window, ids))
    parts = [cross_entropy(part.float(), target, reduction="none").double() for part, target in pairs]
    return torch.cat(parts).view(len(batch), -1).mean(1).tolist()


def _chunks(logits: Tensor, ids: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits of a window that are scored, and the tokens they are scored by, some at a time."""
    return zip(logits[:-1].split(CHUNK), ids[1:].split(CHUNK), strict=True)


def check_tokens(model: Any, tokens: Tensor, window: int) -> None:
    """Refuse what cannot be scored by a model, or by whatever else has its `config`.

    Raises:
        DataError: fewer tokens than one window.
        ModelError: token ids beyond the model's vocabulary, or a window beyond its context.
    """
    if window < 2:
        raise DataError(
            "A window of one token scores nothing.",
            expected="a window of 2 tokens or more",
            received=str(window),
            cause="every token is scored by those before it in its window",
        )
    if len(tokens) < window:
        raise DataError(
            "This text is too short to be scored.",
            expected=f"at least one window of {window} tokens",
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
            fix="use the tokenizer the model was trained with; files of another one may lie in its folder",
        )
    if context is not None and window > context:
        raise ModelError(
            "The window is longer than the model's context.",
            expected=f"a window of 2 to {context} tokens",
            received=str(window),
            fix=f"use window={context}",
        )
