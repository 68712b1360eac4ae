"""Spiking keys and values: one attention function for every decoder, through transformers' attention registry.

Keys and values of each token are encoded by a GIF neuron per key/value head, before heads are shared among queries,
so a token's code depends on that token alone: causal, and the same with and without a cache, which holds codes
(`spikify/code_cache.py`). Queries and attention probabilities stay in float.
"""

from __future__ import annotations

from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from darkit_nb.errors import ModelError
from darkit_nb.nn.gif import GIF
from darkit_nb.ops.spike_attention import MOST_ROWS, spike_attention
from darkit_nb.records.spike_spec import SpikeSpec
from darkit_nb.spikify.code_cache import CodedStates, hold_codes

ATTENTION_NAME = "darkit_spiking"
KEYS, VALUES = "spike_keys", "spike_values"


def spiking_attention_forward(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, Tensor | None]:
    """Scaled dot-product attention over spiking keys and values, `[B, H, L, K]` each, codes of a cache or float.

    Where keys are rotated before they are encoded, queries are rotated alike: the scores stay.
    """
    neurons = getattr(module, KEYS), getattr(module, VALUES)
    query = neurons[0].turned(query)
    if not (isinstance(key, CodedStates) and isinstance(value, CodedStates)):
        key, value = (neuron(states) for neuron, states in zip(neurons, (key, value), strict=True))
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    for neuron, states in zip(neurons, (key, value), strict=True):
        if neuron.spike_listener is not None:
            neuron.spike_listener(neuron, states.code())
    if _products_suffice(query, key, attention_mask, kwargs):
        found = spike_attention(query, key.packed, value.packed, mask=attention_mask, scaling=kwargs.get("scaling"))
        return found.transpose(1, 2).contiguous(), None
    return sdpa_attention_forward(module, query, key.decoded(), value.decoded(), attention_mask, **kwargs)


def _products_suffice(query: Tensor, key: Tensor, mask: Tensor | None, options: dict[str, Any]) -> bool:
    """Whether few queries attend with nothing but a mask: then the codes themselves are multiplied."""
    rows = query.shape[1] // key.shape[1] * query.shape[2]
    sees_all = mask is not None or query.shape[2] == 1
    plain = not options.get("dropout") and options.get("position_bias") is None and options.get("softcap") is None
    return rows <= MOST_ROWS and sees_all and plain and not query.requires_grad


AttentionInterface.register(ATTENTION_NAME, spiking_attention_forward)
AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)


def attention_modules(model: PreTrainedModel) -> dict[str, nn.Module]:
    """The self-attention modules of a decoder, by dotted name."""
    return {
        name: module
        for name, module in model.named_modules()
        if type(module).__name__.endswith("Attention") and hasattr(module, "layer_idx")
    }


def add_spiking_attention(model: PreTrainedModel, spec: SpikeSpec) -> None:
    """Give every self-attention a GIF neuron for keys and one for values, and route the model through them.

    Raises:
        ModelError: the model's attention does not go through transformers' registry.
    """
    modules = attention_modules(model)
    if not modules or not getattr(model, "_supports_attention_backend", False):
        raise ModelError(
            f"The attention of {type(model).__name__} cannot be made spiking.",
            expected="a decoder whose attention goes through transformers' AttentionInterface, as Llama's does",
            received=type(model).__name__,
            fix="use attention=False: the linear layers spike, the attention products stay in float",
        )
    for name, module in modules.items():
        add_neurons(module, name, model.config, spec)
    object.__setattr__(model, "_attention_before_spiking", model.config._attn_implementation)
    model.set_attn_implementation(ATTENTION_NAME)


def add_neurons(attention: nn.Module, name: str, config: Any, spec: SpikeSpec) -> None:
    """Give one attention module, called `name` in its model, a GIF neuron for keys and one for values."""
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    device = next(chain(attention.parameters(), attention.buffers())).device
    for part in (KEYS, VALUES):
        neuron = GIF((heads, 1, width), spec, device=device).train(attention.training)
        neuron.spike_name = f"{name}.{part}"
        neuron.choose_without_data()
        attention.add_module(part, neuron)
    handle = attention.register_forward_pre_hook(_offer_codes, with_kwargs=True)
    object.__setattr__(attention, "_code_cache_hook", handle)


def _offer_codes(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Before an attention module uses a cache: let its layer of it hold codes."""
    cache = kwargs.get("past_key_values")
    if cache is not None:
        hold_codes(getattr(module, KEYS), getattr(module, VALUES), cache, cast(int, module.layer_idx))


def remove_spiking_attention(model: PreTrainedModel) -> None:
    """Undo `add_spiking_attention`; nothing happens where it was not applied."""
    before = getattr(model, "_attention_before_spiking", None)
    if before is None:
        return
    for module in attention_modules(model).values():
        delattr(module, KEYS)
        delattr(module, VALUES)
        cast(RemovableHandle, module._code_cache_hook).remove()
        object.__delattr__(module, "_code_cache_hook")
    model.set_attn_implementation(before)
    object.__delattr__(model, "_attention_before_spiking")


@torch.no_grad()
def reset_choices(model: nn.Module) -> None:
    """Forget every statistic and choose salient features by the weights alone, as `spikify` does."""
    for module in model.modules():
        if isinstance(module, GIF) and module.gathers:
            module.statistic.zero_()
            module.forwards.zero_()
            module.salient.zero_()
            module._seen = None
            module.choose_without_data()
