"""Measure the spikes of a model over a text, exactly and from the spikes' own metadata."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from darkit_nb.errors import ShapeError
from darkit_nb.records.activity import SpikeReport
from darkit_nb.trace.mode import evaluating
from darkit_nb.trace.spikes import SpikeRecorder


@torch.no_grad()
def measure_spikes(model: nn.Module, batches: Iterable[Any]) -> SpikeReport:
    """Run `model` over `batches` and count what its layers receive.

    The model is in evaluation mode meanwhile: nothing is learnt, no salient feature chosen anew. It is put back as it
    was, also when it raises.

    Args:
        model: a spiking model.
        batches: token ids `[B, L]` each, or mappings with `input_ids`; moved to the model's device.

    Raises:
        ModelError: the model has no spiking module.
        ShapeError: there was no batch.
    """
    device = next(model.parameters()).device
    tokens = window = 0
    with evaluating(model), SpikeRecorder(model) as recorder:
        for batch in batches:
            ids = torch.as_tensor(batch if not hasattr(batch, "keys") else batch["input_ids"]).to(device)
            tokens, window = tokens + ids.shape[0] * ids.shape[1], max(window, ids.shape[1])
            _forward(model, ids)
    if not tokens:
        raise ShapeError(
            "There was no token to count the spikes of.",
            expected="at least one batch of token ids [B, L]",
            received="an empty iterable of batches",
            cause="the iterator was used up by an earlier call",
            fix="pass a list of batches",
        )
    return SpikeReport(recorder.report().layers, tokens, window)


def _forward(model: nn.Module, ids: Tensor) -> None:
    if isinstance(model, PreTrainedModel):
        model(input_ids=ids, use_cache=False)
    else:
        model(ids)
