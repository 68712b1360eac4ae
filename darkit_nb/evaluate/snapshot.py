"""Take a text through a spiking model and keep every spike: what `SpikeRaster` shows."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from darkit_nb.data.text_stream import TextStream
from darkit_nb.errors import DataError, ModelError
from darkit_nb.functional.spike_code import SpikeCode
from darkit_nb.nn.gif import GIF, SpikeListener
from darkit_nb.records.snapshot import LayerSpikes, SpikeSnapshot
from darkit_nb.spikify import spiking_modules
from darkit_nb.trace.mode import evaluating
from darkit_nb.trace.spikes import layer_kind

MAX_BYTES = 2**29
"""Largest snapshot; a 7 B model needs about 3 MB for each token when all of its layers are kept."""

_HALF = float(np.finfo(np.float16).max)


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
    with evaluating(model), _listening(chosen, codes):
        model(input_ids=torch.tensor([ids], device=model.device), use_cache=False)
    stream = TextStream(lambda some: cast(str, tokenizer.decode(some, clean_up_tokenization_spaces=False)))
    tokens = [stream.push(token) for token in ids]
    tokens[-1] += stream.end()
    kept = tuple(
        _layer(name, chosen[name], *codes[name])
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


@contextmanager
def _listening(modules: dict[str, GIF], codes: dict[str, tuple[SpikeCode, Tensor]]) -> Iterator[None]:
    """Fill `codes` with the spikes and the input of each module, by name; of a module called twice the last call."""
    before: dict[str, SpikeListener | None] = {}
    inputs: dict[int, Tensor] = {}
    hooks: list[Any] = []
    names = {id(module): name for name, module in modules.items()}

    def see(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        inputs[id(module)] = arguments[0]

    def hear(module: GIF, code: SpikeCode) -> None:
        name = names[id(module)]
        earlier = before[name]
        if earlier is not None:
            earlier(module, code)
        codes[name] = (code, inputs.pop(id(module)))

    try:
        for name, module in modules.items():
            before[name] = module.spike_listener
            module.spike_listener = hear
            hooks.append(module.register_forward_pre_hook(see))
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for name, listener in before.items():
            modules[name].spike_listener = listener


def _layer(name: str, module: GIF, code: SpikeCode, x: Tensor) -> LayerSpikes:
    salient = None if code.salient is None else code.salient.flatten().cpu().numpy()
    half = x.detach().float().clamp(-_HALF, _HALF).half()
    return LayerSpikes(
        name=name,
        kind=layer_kind(module, name),
        counts=_rows(code.counts).reshape(-1, module.salient.numel()),
        num_levels=code.num_levels,
        num_steps=code.num_steps if code.salient is not None else 1,
        coding=code.coding,
        ranges=code.ranges,
        signed=code.signed,
        salient=salient,
        scale=_rows(code.scale.float()),
        zero_point=_rows(code.zero_point),
        membrane=_rows(half).reshape(-1, module.salient.numel()),
    )


def _rows(value: Tensor) -> npt.NDArray[Any]:
    """`[1, L, X]` of a linear layer, or `[1, H, L, X]` of keys and values, as `[L, H, X]`."""
    heads = value.transpose(1, 2) if value.dim() == 4 else value.reshape(-1, 1, value.shape[-1])
    return heads.reshape(-1, *heads.shape[-2:]).contiguous().cpu().numpy()
