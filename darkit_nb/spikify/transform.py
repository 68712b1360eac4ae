"""The one transformation: any decoder of transformers becomes a spiking one, and back."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from torch import nn
from transformers import PreTrainedModel

from darkit_nb.records.spike_spec import SpikeSpec
from darkit_nb.spikify.layers import make_float, make_spiking
from darkit_nb.spikify.quantizer import DarkitConfig, DarkitQuantizer

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
        _mark(model, spec)
    return model


def unspikify(model: ModelT) -> ModelT:
    """Give back the float model: the original layers with the parameters as they are now. In place, bit-exact."""
    make_float(model)
    quantizer = getattr(model, "hf_quantizer", None)
    if isinstance(quantizer, DarkitQuantizer):
        quantizer.remove_quantization_config(model)
    return model


def _mark(model: PreTrainedModel, spec: SpikeSpec) -> None:
    """Tell transformers that this model is quantised by us, so that saving writes the spec into its config."""
    config = DarkitConfig(spike=spec.to_dict())
    marks: dict[str, Any] = {
        "hf_quantizer": DarkitQuantizer(config, pre_quantized=True),
        "is_quantized": True,
        "quantization_method": config.quant_method,
    }
    model.config.quantization_config = config
    for name, value in marks.items():
        setattr(model, name, value)
