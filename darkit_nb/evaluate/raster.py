"""The spikes of one module of a live model, for any inputs: what the detail of a model tree draws."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any

import torch
from torch import Tensor, nn

from darkit_nb.errors import ModelError
from darkit_nb.evaluate.layer_spikes import layer_spikes, listening
from darkit_nb.evaluate.snapshot import token_texts
from darkit_nb.functional.spike_code import SpikeCode
from darkit_nb.nn.gif import GIF
from darkit_nb.records.snapshot import LayerSpikes, SpikeSnapshot
from darkit_nb.spikify import spiking_modules
from darkit_nb.trace.inputs import arguments_of, device_of, fresh
from darkit_nb.trace.untouched import untouched
from darkit_nb.trace.values import tensors_in

MOST_TOKENS = 512
"""Tokens that are kept."""


def module_raster(
    model: nn.Module, inputs: Any, path: str = "", *, tokenizer: Any = None, max_tokens: int = MOST_TOKENS
) -> SpikeSnapshot:
    """Run a model once and keep the spikes of the module at `path`, or of those in it.

    The forward is one of evaluation, without gradients; the model is afterwards as it was. Sequences of a batch follow
    one another. Of a module that is called several times the last call is kept, and of several modules those that see
    as many tokens as the first one.

    Args:
        model: any module with spiking layers.
        inputs: as for `trace_model`.
        path: dotted name.
        tokenizer: of transformers, for a text, and for the words below the columns.
        max_tokens: how many tokens are kept, from the first one.

    Raises:
        ModelError: no such module, none in it that spikes, a model without values, or a forward that raises.
        ShapeError: there is no tensor in the inputs.
    """
    chosen = _spiking_in(model, path)
    args, kwargs = arguments = arguments_of(model, inputs, tokenizer)
    if device_of(model).type == "meta":
        raise ModelError(
            "Spikes need values, and the meta device has none.",
            expected="a model with weights",
            received="a model on the meta device",
            fix="load the model with its weights, as dk.load_model does",
        )
    codes: dict[str, tuple[SpikeCode, Tensor]] = {}
    with untouched(model), listening(chosen, codes):
        try:
            own_args, own_kwargs = fresh(arguments)  # a forward may write into what it is given
            model(*own_args, **own_kwargs)
        except Exception as error:
            raise ModelError(
                "The forward failed, so there are no spikes to show.",
                received=f"{type(error).__name__}: {error}",
                fix="dk.trace_model(model, inputs) shows the module that raised",
            ) from error
    layers = [layer_spikes(name, chosen[name], *codes[name]) for name in chosen if name in codes]
    if not layers:
        raise ModelError(
            "This module did not run in this forward, so it sent no spike.",
            expected="a module that these inputs reach",
            received=path or type(model).__name__,
        )
    rows = layers[0].tokens
    names = _names(args, kwargs, tokenizer, rows)[:max_tokens]
    kept = tuple(_cut(layer, max_tokens) for layer in layers if layer.tokens == rows)
    return SpikeSnapshot(inputs if isinstance(inputs, str) else "", tuple(names), None, kept)


def _spiking_in(model: nn.Module, path: str) -> dict[str, GIF]:
    names = dict(model.named_modules(remove_duplicate=False))
    if path not in names:
        near = difflib.get_close_matches(path, names, 1)
        raise ModelError(
            "This model has no such module.",
            expected="a dotted name" + (f", as {near[0]}" if near else ""),
            received=repr(path),
        )
    inside = {id(module) for module in names[path].modules()}
    found = {name: module for name, module in spiking_modules(model).items() if id(module) in inside}
    if not found:
        raise ModelError(
            "No raster can be drawn of this module.",
            expected="a spiking layer of spikify(model), or a module that holds one",
            received=type(names[path]).__name__,
            cause="it does not spike, or its neurons send their spikes step by step, without a code that says how many",
        )
    return found


def _names(args: tuple[Any, ...], kwargs: dict[str, Any], tokenizer: Any, rows: int) -> list[str]:
    """What to call each token: its text, its id, or its place."""
    whole = (torch.long, torch.int)
    for _, tensor in tensors_in([*args, kwargs]):
        if tensor.dtype in whole and tensor.numel() == rows:
            ids: list[int] = tensor.flatten().tolist()
            return [str(each) for each in ids] if tokenizer is None else token_texts(tokenizer, ids)
    return [str(place) for place in range(rows)]


def _cut(layer: LayerSpikes, tokens: int) -> LayerSpikes:
    by_token = ("counts", "scale", "zero_point", "membrane")
    return dataclasses.replace(layer, **{name: getattr(layer, name)[:tokens] for name in by_token})
