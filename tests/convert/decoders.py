"""Tiny decoders of every family, with norms and biases that are not what initialisation makes them."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

_COMMON: dict[str, Any] = {"vocab_size": 97, "max_position_embeddings": 64}
_LLAMA: dict[str, Any] = {
    **_COMMON, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {**_LLAMA, "attention_bias": True, "mlp_bias": True},
    "qwen2": {**_LLAMA, "tie_word_embeddings": True},
    "qwen3": {**_LLAMA, "head_dim": 8},
    "mistral": {**_LLAMA, "sliding_window": 16},
    "gpt2": {
        "vocab_size": 97, "n_positions": 64, "n_embd": 24, "n_layer": 3, "n_head": 4, "bos_token_id": 0,
        "eos_token_id": 0, "scale_attn_by_inverse_layer_idx": True,
    },
    "opt": {
        **_COMMON, "hidden_size": 24, "ffn_dim": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
        "word_embed_proj_dim": 24, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1,
    },
}  # fmt: skip


def decoder(kind: str, *, dtype: torch.dtype = torch.float64, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A tiny decoder with uneven weights: gains, biases and outlier features included."""
    config = AutoConfig.for_model(kind, **{**CONFIGS[kind], **changes})
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.3)
            else:
                parameter.mul_(8 if "embed" not in name and "wpe" not in name else 3)
    return model
