"""The parts of a block while its scales, clipping and transforms are learned; the block's own weights stay as they are.

    x̂ = gif(P(x / s))        Ŵ = clip(W diag(s) / r ; P⁻ᵀ)        y = x̂ Ŵᵀ + b / r

s scales the features in front of the layer (folded into the norm or the values), r those it writes for a layer that
scales them (values, queries, keys), P is a learned transform applied while the model runs. Each is absent where nothing
learns it.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import linear

from darkit_nb.convert.grid import feature_groups
from darkit_nb.convert.lwc import LearnedClipping
from darkit_nb.functional.spike_linear import neuron_settings
from darkit_nb.functional.weight import weight_quantise
from darkit_nb.nn.kronecker import KroneckerTransform
from darkit_nb.ops.gif import gif_quantise
from darkit_nb.records.conversion import ConversionSpec

SMALLEST = 1e-2
"""A learned scale is kept at least this far from 0, as OmniQuant keeps it."""


class LearnedScale(nn.Module):
    """Positive scales of features, `[D]`.

    Args:
        initial: `[D]`, > 0.
        view: how other features read them: heads that share a value head, halves of a rotary pair.
    """

    def __init__(self, initial: Tensor, view: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.raw = nn.Parameter(initial.detach().float().clone())
        self._view = view or (lambda value: value)

    def forward(self) -> Tensor:
        """The scales, spread to the features that use them."""
        return self._view(self.raw.abs().clamp(min=SMALLEST))


class ScaledNorm(nn.Module):
    """A norm whose output is divided by learned scales."""

    def __init__(self, norm: nn.Module, scale: LearnedScale) -> None:
        super().__init__()
        self.norm, self.scale = norm, scale

    def forward(self, x: Tensor) -> Tensor:
        """The norm, divided."""
        return self.norm(x) / self.scale()


class TrainableLinear(nn.Module):
    """A linear layer seen through what is being learned about it.

    Args:
        layer: the float layer; its parameters are read, not trained.
        spec: how activations and weights are coded.
        salient: bool `[D]` or None, the features with all spike steps.
    """

    salient: Tensor | None
    weight: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Linear, spec: ConversionSpec, salient: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("weight", layer.weight.detach().float(), persistent=False)
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().float(), persistent=False)
        self.register_buffer("salient", salient, persistent=False)
        self.spec = spec
        self.reads: LearnedScale | None = None
        self.writes: LearnedScale | None = None
        self.transform: KroneckerTransform | None = None
        group = feature_groups(layer.in_features, spec.group_size, layer.weight.device)
        self.clipping = LearnedClipping(layer.weight, spec.weight_bits, group) if spec.weights == "lwc" else None

    def effective(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias before coding."""
        weight, bias = self.weight, self.bias
        if self.reads is not None:
            weight = weight * self.reads()
        if self.writes is not None:
            rows = self.writes()
            weight, bias = weight / rows.unsqueeze(1), None if bias is None else bias / rows
        if self.transform is not None:
            weight = self.transform.undone_in(weight)
        return weight, bias

    def forward(self, x: Tensor) -> Tensor:
        """Spikes of the transformed input times the coded weight."""
        weight, bias = self.effective()
        if self.transform is not None:
            x = self.transform(x)
        if self.spec.spike is not None:
            x = gif_quantise(x, salient=self.salient, gradient="range", **neuron_settings(self.spec.spike))
        if self.clipping is not None:
            coded = self.clipping(weight)
        else:
            coded = weight_quantise(weight, self.spec.weight_bits, group_size=self.spec.group_size)
        return linear(x, coded, bias)


def head_view(heads: int, kv_heads: int) -> Callable[[Tensor], Tensor]:
    """Spreads `[kv_heads · K]` to `[heads · K]`, every head reading that of the value head it shares."""

    def spread(value: Tensor) -> Tensor:
        return value.view(kv_heads, 1, -1).expand(kv_heads, heads // kv_heads, -1).flatten()

    return spread


def rotary_view(groups: int, repeats: int = 1) -> Callable[[Tensor], Tensor]:
    """Spreads `[groups · K/2]` to `[groups · repeats · K]`: both halves of a rotary pair have one scale.

    A rotary embedding turns feature i with feature i + K/2 of the same head; only a scale of both passes through.
    """

    def spread(value: Tensor) -> Tensor:
        half = value.view(groups, 1, 1, -1)
        return half.expand(groups, repeats, 2, half.shape[-1]).flatten()

    return spread
