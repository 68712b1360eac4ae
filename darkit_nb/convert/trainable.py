"""The parts of a block while its scales, clipping and transforms are learned; the block's own weights stay as they are.

    x̂ = gif(P(x / s))        Ŵ = clip(W diag(s) / r ; P⁻ᵀ)        y = x̂ Ŵᵀ + b / r

s scales the features in front of the layer (folded into the norm or the values), r those it writes for a layer that
scales them (values, queries, keys), P is a learned transform applied while the model runs. Each is absent where nothing
learns it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.nn.functional import linear

from darkit_nb.convert.lwc import LearnedClipping
from darkit_nb.functional.clipping import scaled_weight
from darkit_nb.functional.kronecker import kronecker_mix
from darkit_nb.functional.spike_linear import neuron_settings
from darkit_nb.functional.weight import weight_quantise
from darkit_nb.nn.kronecker import KroneckerTransform
from darkit_nb.ops.clipping import clipped_linear
from darkit_nb.ops.gif import gif_quantise
from darkit_nb.records.conversion import ConversionSpec
from darkit_nb.records.spike_spec import Backend

Kept = TypeVar("Kept")

SMALLEST = 1e-2
"""A learned scale is kept at least this far from 0, as OmniQuant keeps it."""


class Once:
    """What several parts of a block use in one training step, computed once: scales, inverses, coded inputs."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, ...], tuple[tuple[object, ...], Any]] = {}

    def __call__(self, make: Callable[[], Kept], *of: object) -> Kept:
        """What `make` gives for the objects `of`: made at their first use since `forget`."""
        key = tuple(map(id, of))
        if key not in self._kept:
            self._kept[key] = of, make()  # holds them, so that no id is given out twice
        return self._kept[key][1]

    def forget(self) -> None:
        """A step is over: parameters are others now."""
        self._kept.clear()


class LearnedScale(nn.Module):
    """Positive scales of features, `[D]`.

    Args:
        initial: `[D]`, > 0.
        once: of the block.
        view: how other features read them: heads that share a value head, halves of a rotary pair.
    """

    def __init__(self, initial: Tensor, once: Once, view: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.raw = nn.Parameter(initial.detach().float().clone())
        self.once = once
        self._view = view or (lambda value: value)

    def forward(self) -> Tensor:
        """The scales, spread to the features that use them."""
        return self.once(lambda: self._view(self.raw.abs().clamp(min=SMALLEST)), self)


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
        once: of the block.
        backend: implementation of what is coded, see `ops.backend.resolve_backend`.
    """

    salient: Tensor | None
    weight: Tensor
    bias: Tensor | None

    def __init__(
        self, layer: nn.Linear, spec: ConversionSpec, salient: Tensor | None, once: Once, backend: Backend = "auto"
    ) -> None:
        super().__init__()
        self.register_buffer("weight", layer.weight.detach().float(), persistent=False)
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().float(), persistent=False)
        self.register_buffer("salient", salient, persistent=False)
        self.spec, self.once = spec, once
        self.backend: Backend = backend
        self.reads: LearnedScale | None = None
        self.writes: LearnedScale | None = None
        self.transform: KroneckerTransform | None = None
        lwc = spec.weights == "lwc"
        self.clipping = LearnedClipping(layer.weight, spec.weight_bits, spec.group_size) if lwc else None

    @property
    def _mixing(self) -> tuple[Tensor, Tensor] | None:
        """What undoes the transform in the weight."""
        transform = self.transform
        return None if transform is None else self.once(transform.inverse, transform)

    def _scales(self) -> tuple[Tensor | None, Tensor | None]:
        """s and r."""
        return self.reads and self.reads(), self.writes and self.writes()

    def effective(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias before coding."""
        reads, writes = self._scales()
        weight, bias = scaled_weight(self.weight, reads, writes), self.bias
        if writes is not None and bias is not None:
            bias = bias / writes
        return weight if self._mixing is None else kronecker_mix(weight, *self._mixing), bias

    def _spikes(self, x: Tensor) -> Tensor:
        """The coded input; layers that share their input and what codes it share its code."""
        transform = self.transform
        made = x if transform is None else self.once(lambda: transform(x), x, transform)
        if self.spec.spike is None:
            return made
        settings = neuron_settings(self.spec.spike)
        return self.once(
            lambda: gif_quantise(made, salient=self.salient, gradient="range", backend=self.backend, **settings),
            *(made, self.salient),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Spikes of the transformed input times the coded weight."""
        x = self._spikes(x)
        if self.clipping is None:
            weight, bias = self.effective()
            return linear(x, weight_quantise(weight, self.spec.weight_bits, group_size=self.spec.group_size), bias)
        reads, writes = self._scales()
        return clipped_linear(
            x,
            self.weight,
            self.bias if writes is None or self.bias is None else self.bias / writes,
            self.clipping.upper,
            self.clipping.lower,
            reads=reads,
            writes=writes,
            mixing=self._mixing,
            backend=self.backend,
            **self.clipping.settings,
        )


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
