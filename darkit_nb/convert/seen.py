"""What a layer is given in a block: its input in the quantised stream and in the float one, and what they say together.

x̂ = dequantise(gif_encode(x R))     x in the quantised stream behind everything that is coded before the layer
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import repeat

import torch
from torch import Tensor, nn

from darkit_nb.convert.folding import linear_of, rotation_before
from darkit_nb.convert.hessian import Hessian
from darkit_nb.convert.skeleton import Skeleton
from darkit_nb.convert.statistics import FeatureStatistics, Reached, watching
from darkit_nb.functional.spike_linear import neuron_settings
from darkit_nb.ops.gif import gif_quantise
from darkit_nb.records.conversion_spec import ConversionSpec
from darkit_nb.records.spike_spec import SpikeSpec
from darkit_nb.train.processes import reduce_sum


@dataclass(frozen=True, eq=False)
class Seen:
    """Means over the calibration tokens, for one layer.

    Attributes:
        hessian: E[x̂ x̂ᵀ].
        cross: E[x x̂ᵀ] with x the input of the same layer in the float stream; None where weights do not move there.
        missing: E[(h − ĥ) x̂ᵀ] with h the residual stream the layer adds to; None where it makes nothing good.
    """

    hessian: Hessian
    cross: Tensor | None
    missing: Tensor | None


@dataclass(frozen=True, eq=False)
class Coding:
    """A block while its layers are coded, one group after another, and what they are coded from.

    Attributes:
        skeleton: the model.
        index: of the block.
        spec: what to do.
        block: with every group before this one coded.
        reference: the float block.
        floats: the float stream before it, batch by batch.
        stream: the quantised stream before it.
    """

    skeleton: Skeleton
    index: int
    spec: ConversionSpec
    block: nn.Module
    reference: nn.Module
    floats: list[Tensor]
    stream: list[Tensor]

    def inputs(self, first: str) -> Iterator[tuple[Tensor, Tensor]]:
        """As `layer_inputs`, in the quantised stream."""
        return layer_inputs(self.skeleton, self.index, self.block, first, self.stream)

    def float_inputs(self, first: str) -> Iterator[tuple[Tensor, Tensor]]:
        """As `layer_inputs`, in the float stream."""
        return layer_inputs(self.skeleton, self.index, self.reference, first, self.floats)


def seen_by(at: Coding, first: str, masks: dict[str, Tensor | None]) -> dict[str, Seen]:
    """What calibration says about the coded input x̂ of each layer; layers with equal masks share it.

    Args:
        at: the block, with everything before `first` coded.
        first: first layer of the group that shares the input.
        masks: salient features by layer of the group.

    Returns:
        By layer; empty where nothing needs it.
    """
    spec, skeleton = at.spec, at.skeleton
    if spec.weights in ("rtn", "lwc") and not spec.clip_search and not spec.float_target:
        return {}
    kinds, kind_of = _kinds(masks)
    writes = spec.float_target and spec.residual_target and first in skeleton.family.writers
    features, width = linear_of(at.block, first).in_features, skeleton.widths.hidden if writes else 0
    seen = [FeatureStatistics(features, gram_width=features, device=skeleton.device) for _ in kinds]
    sums = [torch.zeros(features, features, dtype=torch.float64, device=skeleton.device) for _ in kinds]
    lacks = [torch.zeros(width, features, dtype=torch.float64, device=skeleton.device) for _ in kinds]
    exact = at.float_inputs(first) if spec.float_target else repeat(None)
    for (x, hidden), wanted in zip(at.inputs(first), exact, strict=False):
        for mask, statistics, total, lack in zip(kinds, seen, sums, lacks, strict=True):
            value = encoded(x, spec.spike, mask)
            statistics.update(value)
            if wanted is not None:
                total.add_(wanted[0].flatten(0, -2).T @ value.flatten(0, -2))
            if wanted is not None and writes:
                lack.add_((wanted[1] - hidden).flatten(0, -2).T @ value.flatten(0, -2))
    for statistics in seen:
        statistics.reduce()
    reduce_sum(*sums, *(lacks if writes else ()))
    kinds_seen = [
        Seen(
            Hessian(statistics.take_matrix(), spec.damping, spec.act_order, torch.float32),
            total.div_(max(1, statistics.count)) if spec.float_target else None,
            lack.div_(max(1, statistics.count)) if writes else None,
        )
        for statistics, total, lack in zip(seen, sums, lacks, strict=True)
    ]
    return {name: kinds_seen[kind] for name, kind in kind_of.items()}


def _kinds(masks: dict[str, Tensor | None]) -> tuple[list[Tensor | None], dict[str, int]]:
    """The masks that differ, and which of them each layer has."""
    kinds: list[Tensor | None] = []
    kind_of: dict[str, int] = {}
    for name, mask in masks.items():
        same = [i for i, other in enumerate(kinds) if _same(mask, other)]
        kind_of[name] = same[0] if same else len(kinds)
        if not same:
            kinds.append(mask)
    return kinds, kind_of


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other if one is None or other is None else torch.equal(one, other)


def encoded(x: Tensor, spike: SpikeSpec | None, mask: Tensor | None) -> Tensor:
    """The value of the spikes of `x`; `x` itself where activations stay in float."""
    return x if spike is None else gif_quantise(x, salient=mask, **neuron_settings(spike))


def layer_inputs(
    skeleton: Skeleton, index: int, block: nn.Module, first: str, stream: list[Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """What the layer `first` is given, rotated where a rotation stands before it, and the residual stream its half of
    the block reads and adds to; the block runs no further.
    """
    rotation, family = rotation_before(block, first), skeleton.family
    norm = family.attention_norm if first in (*family.attention_inputs, family.output) else family.mlp_norm
    caught: dict[str, Tensor] = {}

    def reached(name: str, x: Tensor) -> None:
        caught[name] = x
        if name == first:
            raise Reached

    modules = {name: block.get_submodule(name) for name in (norm, first)}
    for hidden in stream:
        with watching(modules, reached), suppress(Reached):
            skeleton.call(block, index, hidden)
        x = caught.pop(first)
        yield x if rotation is None else rotation(x), caught.pop(norm)
