"""Small models that the tests of this folder share."""

from __future__ import annotations

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel


class Stack(nn.Module):
    """Two linear layers over embedded tokens; no attention, no configuration."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(32, 20)
        self.up, self.down = nn.Linear(20, 30), nn.Linear(30, 7, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.down(torch.relu(self.up(self.table(ids))))


def decoder(family: str = "llama", **fields: int | bool | None) -> PreTrainedModel:
    """Two layers, width 24, four heads, which share two key/value heads where the family can, 50 tokens."""
    torch.manual_seed(0)
    sizes = {
        "vocab_size": 50,
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
    }
    if family == "opt":
        sizes |= {"ffn_dim": 40, "word_embed_proj_dim": 24}
    elif family != "gpt2":
        sizes |= {"num_key_value_heads": 2}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes | fields))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model.eval()
