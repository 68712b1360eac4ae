"""Small models of the architectures of transformers, with inputs, and an independent count of their operations."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

IDS = torch.arange(24).view(2, 12) % 20
DECODERS = ("gpt2", "opt", "llama", "qwen2", "qwen3", "mistral", "gemma", "olmo")
OTHERS = ("bert", "distilbert", "albert", "electra", "t5", "bart", "mamba")
FURTHER = (
    *("roberta", "deberta-v2", "fnet", "vit", "clip", "whisper", "phi", "gpt_neox", "bloom", "falcon"),
    *("gemma2", "starcoder2", "mixtral", "qwen3_moe", "rwkv"),
)

_USUAL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
_PAIR = {
    "d_model": 32,
    **{f"{side}_layers": 2 for side in ("encoder", "decoder")},
    **{f"{side}_attention_heads": 4 for side in ("encoder", "decoder")},
    **{f"{side}_ffn_dim": 48 for side in ("encoder", "decoder")},
}
_SIZES: dict[str, dict[str, Any]] = {
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
    "t5": {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_ff": 48, "d_kv": 8},
    "bart": _PAIR,
    "whisper": _PAIR | {"num_mel_bins": 8, "max_source_positions": 10, "pad_token_id": 0, "decoder_start_token_id": 1},
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
    "vit": _USUAL | {"image_size": 16, "patch_size": 4},
    "clip": {
        "text_config": _USUAL | {"vocab_size": 50},
        "vision_config": _USUAL | {"image_size": 16, "patch_size": 4},
        "projection_dim": 8,
    },
    "mixtral": _USUAL | {"num_key_value_heads": 2, "num_local_experts": 4},
}


def transformer(family: str) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """A small model of another family than the decoders, and what it reads."""
    words = {} if family in ("vit", "clip") else {"vocab_size": 50}
    kind = AutoModelForCausalLM if family in ("mixtral", "qwen3_moe") else AutoModel
    torch.manual_seed(0)
    model = kind.from_config(AutoConfig.for_model(family, **words, **_SIZES.get(family, _USUAL)))
    inputs = {} if family in ("vit", "whisper") else {"input_ids": IDS}
    inputs |= {"decoder_input_ids": IDS} if family in ("t5", "bart", "whisper") else {}
    inputs |= {"input_features": torch.randn(2, 8, 20)} if family == "whisper" else {}
    inputs |= {"pixel_values": torch.randn(2, 3, 16, 16)} if family in ("vit", "clip") else {}
    return model.eval(), inputs


def plain_flops(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Operations by PyTorch's counter alone: every product as a plain one, none in a fused kernel."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        plain = sdpa_kernel(SDPBackend.MATH), torch.backends.mkldnn.flags(enabled=False)
        with torch.no_grad(), plain[0], plain[1], FlopCounterMode(display=False) as counter:
            model(*args, **kwargs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return counter.get_total_flops()
