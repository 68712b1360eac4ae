"""Eight small architectures, float and spiking, with an input each: what edits are proved on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from darkit_nb.models.build import build_model
from darkit_nb.spikify import spikify
from tests.trace.models import SmallResNet, Tagger

_DECODERS = ("llama", "qwen", "mistral", "gpt2", "opt")
_SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 32}
_FIELDS = {
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2},
    "opt": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "ffn_dim": 24,
        "word_embed_proj_dim": 16,
    },
    "qwen": {**_SMALL, "num_key_value_heads": 1, "intermediate_size": 24, "head_dim": 8},
}
_LLAMA_LIKE = {**_SMALL, "num_key_value_heads": 1, "intermediate_size": 24}

ARCHITECTURES = (*_DECODERS, "gemma", "tagger", "resnet")


def build(name: str, *, spiking: bool = False) -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    """A model in evaluation mode, and what gives its output for a fixed input."""
    torch.manual_seed(0)
    if name == "resnet":
        model, inputs = SmallResNet(), torch.randn(2, 3, 32, 32)
    elif name == "tagger":
        model, inputs = Tagger(), torch.randint(20, (2, 7))
    else:
        model, inputs = _decoder(name), torch.randint(32, (2, 7))
    if spiking:
        spikify(model, attention=name in _DECODERS, num_levels=4, reselect_every=0)
    return model.eval(), lambda each: _tensor(each(inputs))


def _decoder(name: str) -> nn.Module:
    if name == "gemma":
        config = AutoConfig.for_model("gemma2", **_LLAMA_LIKE, head_dim=8, sliding_window=4, pad_token_id=0)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return build_model(f"spike-{name}-nano", vocab_size=32, seq_len=16, overrides=_FIELDS.get(name, _LLAMA_LIKE))


def _tensor(output: object) -> Tensor:
    return output if isinstance(output, Tensor) else output.logits
