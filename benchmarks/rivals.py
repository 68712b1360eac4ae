"""The published formulations that ours are measured against, written from their formulas.

Source: Xing et al. 2025 (SpikeLLM): eager fake quantisation, one quantiser for usual features, another with S·Q − 1 as
its top code for salient ones, masked and added; weights rounded to nearest per output (Shao et al. 2024, OmniQuant).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from darkit_nb.nn.linear import SpikeLinear
from darkit_nb.spikify import unspikify


def published_quantiser(x: Tensor, top: int, *, follow_range: bool = True) -> Tensor:
    """The value of round(x / scale) + zero, clamped to 0 … top, per last axis; straight through.

    With `follow_range` the gradient goes through minimum and maximum too, as it does for activations.
    """
    ranged = x if follow_range else x.detach()
    low, high = ranged.amin(-1, keepdim=True), ranged.amax(-1, keepdim=True)
    scale = ((high - low) / top).clamp(min=1e-5, max=1e4)
    zero = (-low / scale).clamp(min=-1e4, max=1e4).round()
    rounded = (x / scale).round()
    codes = ((rounded - x / scale).detach() + x / scale + zero).clamp(0, top)
    return (codes - zero) * scale


def published_spikes(x: Tensor, levels: int, steps: int, salient: Tensor | None) -> Tensor:
    """Two quantisers of all features, one of them masked away: what a spiking layer of the paper is given."""
    if salient is None:
        return published_quantiser(x, levels - 1)
    mask = salient.to(x.dtype)
    return published_quantiser(x, levels - 1) * (1 - mask) + published_quantiser(x, steps * levels - 1) * mask


class PublishedLinear(nn.Module):
    """A spiking linear layer as published: everything in float, nothing fused.

    Args:
        layer: ours; parameters, mask and settings are taken from it.
    """

    def __init__(self, layer: SpikeLinear) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.transposed, self.spec = layer.transposed, layer.spec
        self.register_buffer("salient", None if layer.mask is None else layer.mask.clone())

    def forward(self, x: Tensor) -> Tensor:
        """`[*B, L, D] → [*B, L, O]`."""
        weight = self.weight.t() if self.transposed else self.weight
        spikes = published_spikes(x, self.spec.num_levels, self.spec.num_steps, cast("Tensor | None", self.salient))
        # Without a gradient through the range of the weights, as ours: less work than the published one, in its favour.
        matrix = published_quantiser(weight, 2**self.spec.weight_bits - 1, follow_range=False)
        return linear(spikes, matrix, self.bias)


def as_published(model: nn.Module) -> nn.Module:
    """Put `PublishedLinear` in the place of every spiking linear layer, in place, same parameters."""
    for name, module in list(model.named_modules()):
        if isinstance(module, SpikeLinear):
            model.set_submodule(name, PublishedLinear(module))
    return model


def float_twin(model: nn.Module) -> nn.Module:
    """The same model without spikes, in place."""
    return unspikify(model)


@torch.no_grad()
def relative_error(found: Tensor, expected: Tensor) -> float:
    """‖found − expected‖ / ‖expected‖."""
    return float((found - expected).norm() / expected.norm().clamp(min=1e-30))
