"""Refinement as a step of the driver: what a block's training needs is looked up on both streams, then it trains.

Where scales begin is seen on the float stream, salient features on the quantised one before any coding in the block, as
the published implementation does; the score does not change with the scales, so the choice holds for what is learned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from darkit_nb.convert.folding import linear_of
from darkit_nb.convert.grid import WeightGrid
from darkit_nb.convert.learned_parts import BlockShape
from darkit_nb.convert.refine import refine_block
from darkit_nb.convert.saliency import feature_saliency
from darkit_nb.convert.skeleton import Skeleton
from darkit_nb.convert.statistics import FeatureStatistics, watching
from darkit_nb.functional.saliency import choose_salient
from darkit_nb.records.conversion import ConversionSpec
from darkit_nb.records.spike_spec import SpikeSpec


@dataclass
class Refinement:
    """What training a block gave beside its new weights.

    Attributes:
        grids: learned grid of every weight by layer name, empty without learned clipping.
        salient: bool `[D]` by layer name, empty where no feature is treated apart.
        losses: mean loss of every epoch.
    """

    grids: dict[str, WeightGrid] = field(default_factory=dict)
    salient: dict[str, Tensor] = field(default_factory=dict)
    losses: tuple[float, ...] = ()


def refine(
    skeleton: Skeleton,
    index: int,
    block: nn.Module,
    *,
    floats: list[Tensor],
    stream: list[Tensor],
    targets: list[Tensor],
    spec: ConversionSpec,
    shares: Mapping[str, float],
) -> Refinement:
    """Train a float block as `spec` says, and fold what it learned into it, in place.

    Args:
        skeleton: the model; it must have entered one sequence alone, since training takes one at a time.
        index: of the block.
        block: float, after every step that keeps its function.
        floats: the float stream before it, batch by batch.
        stream: the quantised stream before it.
        targets: what the float block makes of `floats`.
        spec: what to learn.
        shares: share of salient features by the first layer of every group.

    Raises:
        TrainingError: a loss that is not finite.
    """
    if spec.refine_epochs == 0:
        return Refinement()
    seen = _look_at(skeleton, index, block, floats, gram=False)
    salient = _salient(skeleton, index, block, stream, spec.spike, shares) if spec.spike is not None else {}
    shape = BlockShape(skeleton.family, skeleton.widths, rotary=hasattr(skeleton.config, "rope_parameters"))
    found = refine_block(
        block,
        shape,
        spec,
        inputs=stream,
        targets=targets,
        call=lambda module, hidden: skeleton.call(module, index, hidden),
        absmax={name: statistics.absmax for name, statistics in seen.items()},
        salient=dict(salient),
    )
    return Refinement(found.grids, salient, tuple(found.losses))


@torch.no_grad()
def _look_at(
    skeleton: Skeleton, index: int, block: nn.Module, stream: list[Tensor], *, gram: bool
) -> dict[str, FeatureStatistics]:
    """Statistics of the input of every group of layers, by its first layer."""
    widths = {group[0]: linear_of(block, group[0]).in_features for group in skeleton.family.groups}
    seen = {
        name: FeatureStatistics(width, gram_width=width if gram else None, device=skeleton.device)
        for name, width in widths.items()
    }
    with watching({name: block.get_submodule(name) for name in seen}, lambda name, x: seen[name].update(x)):
        skeleton.run(block, index, stream)
    for statistics in seen.values():
        statistics.reduce()
    return seen


@torch.no_grad()
def _salient(
    skeleton: Skeleton,
    index: int,
    block: nn.Module,
    stream: list[Tensor],
    spike: SpikeSpec,
    shares: Mapping[str, float],
) -> dict[str, Tensor]:
    """The salient features of every layer, from its own weight; none where one step serves all."""
    if spike.salient_fraction == 0 or (spike.num_steps == 1 and spike.ranges == "shared"):
        return {}
    energy = spike.saliency == "energy"
    seen = _look_at(skeleton, index, block, stream, gram=energy)
    masks = {}
    for group in skeleton.family.groups:
        statistics = seen[group[0]]
        for name in group:
            score = feature_saliency(
                spike.saliency,
                gram=statistics.matrix if energy else torch.empty(0),
                low=statistics.low,
                high=statistics.high,
                weight=linear_of(block, name).weight.detach().double(),
            )
            masks[name] = choose_salient(score, shares[group[0]], above_quantile=spike.coding == "paper")
    return masks
