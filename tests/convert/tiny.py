"""Conversions small enough for a test: token ids, specs, and what a model makes of ids."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from darkit_nb.config.conversions import preset
from darkit_nb.records.conversion import ConversionSpec

CALIBRATION = {"samples": 6, "sample_length": 20}


def ids(seed: int = 1, count: int = 6, vocabulary: int = 97) -> Tensor:
    return torch.randint(2, vocabulary, (count, 20), generator=torch.Generator().manual_seed(seed))


def small(name: str = "darkit", bits: str = "W4A4", **changes) -> ConversionSpec:
    return preset(name, bits=bits, **{**CALIBRATION, **changes})


def logits_of(model: PreTrainedModel, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        return model(input_ids=tokens, use_cache=False).logits
