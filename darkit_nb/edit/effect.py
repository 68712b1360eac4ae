"""What an edit does to a model: loss, spikes, energy and speed before and after, on a small batch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from darkit_nb.edit.apply import PATCH_FOLDER, apply, revert
from darkit_nb.edit.history import entries
from darkit_nb.edit.recording import sample_inputs
from darkit_nb.edit.source import plain_module
from darkit_nb.evaluate.energy import energy_report
from darkit_nb.evaluate.spikes import measure_spikes
from darkit_nb.records.energy import FLOAT_READING, SPIKING_READING
from darkit_nb.records.patch import Patch
from darkit_nb.spikify import spiking_modules
from darkit_nb.trace.inputs import Arguments, arguments_of
from darkit_nb.trace.untouched import untouched
from darkit_nb.trace.values import tensors_in

ROUNDS = 5
"""Timed forwards of each; before and after take turns, so that a busy machine slows both."""


def measure_effect(
    model: nn.Module,
    patch: Patch,
    inputs: Any = None,
    *,
    tokenizer: Any = None,
    rounds: int = ROUNDS,
    folder: str | Path | None = None,
) -> dict[str, Any]:
    """Measure a model with and without an edit. Afterwards it is as before, and its history too.

    The edit runs in this process, so validate it first.

    Args:
        model: the live model, without the edit.
        patch: the edit.
        inputs: as for `trace_model`, token ids `[B, L]` for a loss; a few tokens where none are given.
        tokenizer: for a text.
        rounds: timed forwards of each.
        folder: where the file of the edit goes.

    Returns:
        Plain data: `tokens` of the batch; `before` and `after` with `loss` (cross-entropy of the next token),
        `firing_rate`, `energy_pj` of a token (simulated) and `tokens_per_s`, each where it can be measured;
        `largest_change` and `mean_change` of the outputs.

    Raises:
        PatchError: the patch does not fit the model.
    """
    model = plain_module(model)
    given = arguments_of(model, sample_inputs(model) if inputs is None else inputs, tokenizer)
    place = folder or PATCH_FOLDER
    before, was = _measures(model, given)
    with _edited(model, patch, place):
        after, now = _measures(model, given)
    seconds: dict[str, list[float]] = {"before": [], "after": []}
    for _ in range(rounds):
        seconds["before"].append(_seconds(model, given))
        with _edited(model, patch, place):
            seconds["after"].append(_seconds(model, given))
    tokens = _tokens(given)
    changes = [(one.float() - other.float()).abs() for one, other in zip(was, now, strict=False) if one.numel()]
    return {
        "tokens": tokens,
        "before": before | {"tokens_per_s": tokens / statistics.median(seconds["before"])},
        "after": after | {"tokens_per_s": tokens / statistics.median(seconds["after"])},
        "largest_change": max((float(each.max()) for each in changes), default=0.0),
        "mean_change": float(torch.stack([each.mean() for each in changes]).mean()) if changes else 0.0,
    }


@contextmanager
def _edited(model: nn.Module, patch: Patch, folder: str | Path) -> Iterator[None]:
    """The model with an edit, which leaves no mark in its history."""
    apply(model, patch, folder=folder)
    try:
        yield
    finally:
        revert(model)
        del entries(model)[-1]


def _measures(model: nn.Module, given: Arguments) -> tuple[dict[str, float], list[Tensor]]:
    args, kwargs = given
    with untouched(model):
        output = model(*args, **kwargs)
    values = [tensor for _, tensor in tensors_in(output) if tensor.is_floating_point()]
    found: dict[str, float] = {}
    ids = _ids(given)
    logits: Tensor | None = getattr(output, "logits", values[0] if values else None)
    if logits is not None and ids is not None and logits.dim() == 3 and logits.shape[:2] == ids.shape != (len(ids), 1):
        scored = logits[:, :-1].flatten(0, 1).float()
        found["loss"] = float(cross_entropy(scored, ids[:, 1:].flatten()))
    if ids is not None and spiking_modules(model):
        with untouched(model):
            spikes = measure_spikes(model, [ids])
            reading = SPIKING_READING if spikes.layers else FLOAT_READING
            found["firing_rate"] = spikes.firing_rate
            found["energy_pj"] = energy_report(model, spikes).reading(reading).total_pj
    return found, values


def _seconds(model: nn.Module, given: Arguments) -> float:
    args, kwargs = given
    with untouched(model):
        _wait(model)
        began = time.perf_counter()
        model(*args, **kwargs)
        _wait(model)
        return time.perf_counter() - began


def _wait(model: nn.Module) -> None:
    device = next((each.device for each in model.parameters()), torch.device("cpu"))
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _ids(given: Arguments) -> Tensor | None:
    args, kwargs = given
    found = kwargs.get("input_ids", args[0] if args else None)
    return found if isinstance(found, Tensor) and found.dtype == torch.long and found.dim() == 2 else None


def _tokens(given: Arguments) -> int:
    """Tokens of the batch; where there are none, samples."""
    ids = _ids(given)
    args, kwargs = given
    first = next(tensor for _, tensor in tensors_in([*args, kwargs]))
    return ids.numel() if ids is not None else len(first) if first.dim() else 1
