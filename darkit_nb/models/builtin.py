"""Model presets: named shapes of decoders, as plain data. Any other shape is an override away."""

from __future__ import annotations

from typing import Any

from darkit_nb.plugins import Entry, Registry

_LLAMA_LIKE = {"tie_word_embeddings": True, "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}}


def _llama(width: int, layers: int, heads: int, kv_heads: int, hidden: int, **more: Any) -> dict[str, Any]:
    return {
        **_LLAMA_LIKE,
        # The usual 0.02 suits widths of thousands; narrow models start at the scale of their width instead.
        **({"initializer_range": round(width**-0.5, 3)} if width < 512 else {}),
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": hidden,
        **more,
    }


_PRESETS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    (
        "spike-llama-nano",
        "Llama, 1 M parameters: the demo's model, for a CPU.",
        "llama",
        _llama(128, 4, 4, 2, 512),
    ),
    ("spike-llama-micro", "Llama, 2.5 M parameters: for a CPU and some patience.", "llama", _llama(192, 6, 6, 3, 512)),
    ("spike-llama-mini", "Llama, 13 M parameters: for many cores or a GPU.", "llama", _llama(384, 8, 6, 3, 1024)),
    (
        "spike-llama-125m",
        "Llama, 125 M parameters with a 32k vocabulary: one GPU.",
        "llama",
        _llama(768, 12, 12, 12, 2048),
    ),
    (
        "spike-llama-1b",
        "Llama 3.2 1B shape.",
        "llama",
        _llama(2048, 16, 32, 8, 8192, vocab_size=128256, max_position_embeddings=8192),
    ),
    (
        "spike-llama-7b",
        "LLaMA-7B shape, the size the SpikeLLM paper reports.",
        "llama",
        _llama(4096, 32, 32, 32, 11008, vocab_size=32000, max_position_embeddings=2048, tie_word_embeddings=False),
    ),
    (
        "spike-qwen-nano",
        "Qwen 3, 1 M parameters: query and key norms.",
        "qwen3",
        _llama(128, 4, 4, 2, 512, head_dim=32),
    ),
    (
        "spike-mistral-nano",
        "Mistral, 1 M parameters: sliding-window attention.",
        "mistral",
        _llama(128, 4, 4, 2, 512, sliding_window=128),
    ),
    (
        "spike-gpt2-nano",
        "GPT-2, 1 M parameters: learned positions, LayerNorm, GELU.",
        "gpt2",
        {
            "n_embd": 128,
            "n_layer": 4,
            "n_head": 4,
            "initializer_range": 0.088,
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
        },
    ),
    (
        "spike-gpt2-small",
        "GPT-2 small shape, 124 M parameters.",
        "gpt2",
        {"n_embd": 768, "n_layer": 12, "n_head": 12, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    ),
    (
        "spike-opt-nano",
        "OPT, 1 M parameters: ReLU, the natural partner of non-negative spikes.",
        "opt",
        {
            "hidden_size": 128,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "ffn_dim": 512,
            "word_embed_proj_dim": 128,
            "init_std": 0.088,
            "dropout": 0.0,
        },
    ),
)


def register_models(registry: Registry) -> None:
    """Register the built-in presets; `options` hold the model family and the fields of its transformers config."""
    for name, description, family, config in _PRESETS:
        registry.add(
            Entry(name, description, "darkit_nb.models.build:build_model", {"family": family, "config": config})
        )
