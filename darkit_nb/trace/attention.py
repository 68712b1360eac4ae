"""How many products a key or a value takes part in."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from darkit_nb.spikify.attention import KEYS, VALUES


def attending_queries(seq_len: int, window: int | None, device: torch.device | str = "cpu") -> Tensor:
    """Queries that attend to each token of a causal sequence, its own included: int64 `[L]`, L, L−1, …, 1.

    Args:
        seq_len: L, tokens of the sequence.
        window: sliding window in tokens, or None: a token is out of sight of queries `window` or more later.
    """
    ahead = torch.arange(seq_len, 0, -1, device=device)
    return ahead if window is None else ahead.clamp(max=window)


def attention_window(model: nn.Module, name: str) -> int | None:
    """Sliding window of the attention module that holds, or is, the module called `name`; None if it sees everything.

    Read from the module where it says so itself (Qwen), else from the model's configuration (Mistral).
    """
    parent, _, last = name.rpartition(".")
    holder = model.get_submodule(parent if last in (KEYS, VALUES) else name)
    if hasattr(holder, "sliding_window"):
        return cast("int | None", holder.sliding_window)
    config = text_config(model)
    uses_it = getattr(config, "use_sliding_window", True)
    return getattr(config, "sliding_window", None) if uses_it else None


def sharing_heads(model: nn.Module, name: str) -> int:
    """Query heads that share one key/value head."""
    config = text_config(model)
    return query_heads(config) // key_value_heads(config)


def text_config(model: nn.Module) -> Any:
    """The configuration of the decoder, or an empty object where the model has none."""
    config = getattr(model, "config", None)
    return config.get_text_config() if isinstance(config, PreTrainedConfig) else object()


def query_heads(config: Any) -> int:
    """H, attention heads of a configuration."""
    return config.num_attention_heads


def key_value_heads(config: Any) -> int:
    """Heads of keys and values; as many as there are query heads where the configuration does not say."""
    return getattr(config, "num_key_value_heads", None) or query_heads(config)


def head_width(config: Any) -> int:
    """K, features of one head."""
    return getattr(config, "head_dim", None) or config.hidden_size // query_heads(config)
