"""The one transformation: any decoder of transformers becomes a spiking one, and back."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar, cast

from torch import nn
from transformers import PreTrainedModel

from darkit_nb.plugins import registry
from darkit_nb.records.spike_spec import SpikeSpec
from darkit_nb.spikify.layers import make_float, make_spiking
from darkit_nb.spikify.quantizer import DarkitQuantizer, mark_quantized, refuse_converted

ModelT = TypeVar("ModelT", bound=nn.Module)


def spikify(model: ModelT, spec: SpikeSpec | None = None, **changes: Any) -> ModelT:
    """Make the linear layers of `model`, and optionally its attention products, spiking. In place.

    Parameters stay the same objects under the same names, so an optimizer built before goes on working. With a
    transformers model, `save_pretrained` and `from_pretrained` round-trip the result.

    Args:
        model: a decoder of transformers, or any module with linear layers.
        spec: what to encode and how; `SpikeSpec()` is W4A4 with 10 % salient features at two steps.
        changes: fields of the spec to replace, as in `spikify(model, num_levels=2)`.

    Returns:
        `model` itself.

    Raises:
        ModelError: already spiking, no layer matches the patterns, or attention that cannot be routed.
        ConfigError: a spec that has no meaning.
    """
    spec = dataclasses.replace(spec or SpikeSpec(), **changes)
    make_spiking(model, spec)
    if isinstance(model, PreTrainedModel):
        mark_quantized(model, spec)
    return model


def unspikify(model: ModelT) -> ModelT:
    """Give back the float model: the original layers with the parameters as they are now. In place, bit-exact.

    Raises:
        ModelError: a converted model; its float weights are gone.
    """
    refuse_converted(model)
    make_float(model)
    quantizer = getattr(model, "hf_quantizer", None)
    if isinstance(quantizer, DarkitQuantizer):
        edits = registry("edit").get("save").load()(model)
        quantizer.remove_quantization_config(model)
        if edits:  # they still go into what is saved
            mark_quantized(cast(PreTrainedModel, model), None)
    return model
