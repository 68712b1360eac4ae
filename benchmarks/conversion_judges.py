"""Converted layers with other activations, spelt out in plain PyTorch: controls of the accuracy table.

int8     what radix coding with Q = 16, S = 2 must equal: 8-bit integers with a range of their own in the salient
         features, 4-bit integers in the others
tokens   the extra step spent on tokens: the tenth of tokens with the widest range has 31 levels, the others 16,
         whatever the features are
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from darkit_nb.nn.packed_linear import PackedSpikeLinear

TOKEN_SHARE = 0.1


class Plain(nn.Module):
    """A converted layer whose activations are uniform integers.

    Args:
        layer: with packed weights and salient features.
        how: `int8` or `tokens`.
    """

    def __init__(self, layer: PackedSpikeLinear, how: str) -> None:
        super().__init__()
        self.how, self.rotation = how, layer.rotation
        self.levels = layer.spec.num_levels
        self.register_buffer("weight", layer.weight)
        self.register_buffer("bias", layer.bias)
        self.register_buffer("salient", layer.salient)

    def forward(self, x: Tensor) -> Tensor:
        """Mix, round, multiply."""
        x = x if self.rotation is None else self.rotation(x)
        return linear(self._by_feature(x) if self.how == "int8" else self._by_token(x), self.weight, self.bias)

    def _by_feature(self, x: Tensor) -> Tensor:
        rounded = torch.empty_like(x)
        rounded[..., self.salient] = uniform(x[..., self.salient], self.levels**2 - 1)
        rounded[..., ~self.salient] = uniform(x[..., ~self.salient], self.levels - 1)
        return rounded

    def _by_token(self, x: Tensor) -> Tensor:
        width = x.amax(-1) - x.amin(-1)
        chosen = max(1, round(TOKEN_SHARE * x.shape[-2]))
        widest = width >= width.topk(chosen, dim=-1).values[..., -1:]
        fine, coarse = uniform(x, 2 * (self.levels - 1)), uniform(x, self.levels - 1)
        return torch.where(widest[..., None], fine, coarse)


def uniform(x: Tensor, top: int) -> Tensor:
    """Round each token to codes 0 … top over its own range, zero included."""
    low, high = x.amin(-1, keepdim=True).clamp(max=0), x.amax(-1, keepdim=True).clamp(min=0)
    scale = ((high - low) / top).clamp(min=1e-9)
    zero = torch.round(-low / scale)
    return (torch.clamp(torch.round(x / scale) + zero, 0, top) - zero) * scale


def judged(model: nn.Module, how: str) -> nn.Module:
    """The converted model with its activations computed in one of the ways above; `spikes` is the model itself."""
    if how == "spikes":
        return model
    made = copy.deepcopy(model)
    for name, layer in list(made.named_modules()):
        if isinstance(layer, PackedSpikeLinear):
            made.set_submodule(name, Plain(layer, how))
    return made
