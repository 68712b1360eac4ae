"""Take a text through a spiking model and keep every spike: what `SpikeRaster` shows."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from darkit_nb.data.text_stream import TextStream
from darkit_nb.errors import DataError, ModelError
from darkit_nb.evaluate.layer_spikes import layer_spikes, listening
from darkit_nb.functional.spike_code import SpikeCode
from darkit_nb.nn.gif import GIF
from darkit_nb.records.snapshot import SpikeSnapshot
from darkit_nb.spikify import spiking_modules
from darkit_nb.trace.mode import evaluating

MAX_BYTES = 2**29
"""Largest snapshot; a 7 B model needs about 3 MB for each token when all of its layers are kept."""


@torch.no_grad()
def capture(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    layers: Sequence[str] | None = None,
    *,
    max_tokens: int = 512,
    step: int | None = None,
) -> SpikeSnapshot:
    """Run `text` through `model` once, in evaluation mode, and keep the spikes of its layers.

    Nothing is learnt, no random number is drawn, and model and listeners are put back as they were. Layers that do not
    see each token of the text once, as the experts of a mixture, are left out.

    Args:
        model: a spiking model.
        tokenizer: its tokenizer; no special tokens are added.
        text: what to read.
        layers: dotted names, or shell-style patterns on them such as `*.mlp.*`; all by default.
        max_tokens: the longest text that is accepted, within the model's context.
        step: training step of the weights, noted in the snapshot.

    Raises:
        ModelError: the model has no spiking module, or none of that name.
        DataError: the text is empty, too long, or too much to keep. Nothing was computed then.
    """
    chosen = _chosen(model, layers)
    ids = token_ids(model, tokenizer, text, max_tokens=max_tokens)
    _check_size(len(ids), chosen)
    codes: dict[str, tuple[SpikeCode, Tensor]] = {}
    with evaluating(model), listening(chosen, codes):
        model(input_ids=torch.tensor([ids], device=model.device), use_cache=False)
    tokens = token_texts(tokenizer, ids)
    kept = tuple(
        layer_spikes(name, chosen[name], *codes[name])
        for name in chosen
        if name in codes and codes[name][0].counts.numel() == len(ids) * chosen[name].salient.numel()
    )
    return SpikeSnapshot(text, tuple(tokens), step, kept)


def token_ids(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str, *, max_tokens: int = 512, cut: bool = False
) -> list[int]:
    """The tokens of a text that a model can attend to at once, without special tokens.

    Args:
        model: whose context counts.
        tokenizer: its tokenizer.
        text: what to read.
        max_tokens: the longest text that is accepted, within the model's context.
        cut: shorten a text that is too long, instead of refusing it.

    Raises:
        DataError: the text is empty, or too long.
    """
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    context = getattr(model.config, "max_position_embeddings", None) or max_tokens
    if cut:
        ids = ids[: min(max_tokens, context)]
    _check_length(len(ids), max_tokens, context)
    return ids


def token_texts(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """The text of each token; "" where a character only ends in a later one."""
    stream = TextStream(lambda some: cast(str, tokenizer.decode(some, clean_up_tokenization_spaces=False)))
    texts = [stream.push(token) for token in ids]
    texts[-1] += stream.end()
    return texts


def _chosen(model: nn.Module, layers: Sequence[str] | None) -> dict[str, GIF]:
    modules = spiking_modules(model)
    if not modules:
        raise ModelError(
            "This model has no spiking module, so there is no spike to show.",
            expected="a model made by spikify(model)",
            received=type(model).__name__,
            fix="call spikify(model, SpikeSpec()) first, or train a run with spike settings",
        )
    if layers is None:
        return modules
    for pattern in layers:
        if not any(fnmatchcase(name, pattern) for name in modules):
            near = difflib.get_close_matches(pattern, modules, 1) or list(modules)[:1]
            raise ModelError(
                "No spiking layer has this name.",
                expected=f"a name or pattern of the {len(modules)} spiking layers, as {near[0]}",
                received=pattern,
                fix="leave `layers` out to see all of them",
            )
    return {name: module for name, module in modules.items() if any(fnmatchcase(name, pattern) for pattern in layers)}


def _check_length(length: int, max_tokens: int, context: int) -> None:
    if length == 0:
        raise DataError(
            "There is no text to look at.",
            expected="at least one token",
            received="an empty text",
            fix="type a few words",
        )
    limit = min(max_tokens, context)
    if length > limit:
        raise DataError(
            f"The text is too long to be shown: {length:,} tokens.",
            expected=f"at most {limit:,} tokens",
            received=f"{length:,} tokens",
            cause="that is all the model can attend to at once" if limit == context else "every spike of it is kept",
            fix="shorten the text to the passage you want to see",
        )


def _check_size(length: int, modules: dict[str, GIF]) -> None:
    size = 3 * length * sum(module.salient.numel() for module in modules.values())  # counts and membrane
    if size > MAX_BYTES:
        raise DataError(
            f"The spikes of {length:,} tokens in {len(modules)} layers are too many to keep.",
            expected=f"at most {MAX_BYTES / 2**20:,.0f} MB",
            received=f"{size / 2**20:,.0f} MB",
            fix=f"choose layers, as layers=['{next(iter(modules))}'], or shorten the text",
        )
