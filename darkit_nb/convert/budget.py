"""A budget of spike steps, shared out among the inputs of all layers before any block is converted.

Layers that share an input form a group. Each group offers a few shares of salient features, multiples of the share the
spec names, and `allocate.knapsack` takes one of each. What a share is worth is estimated on the float model: a code of
largest value cap over a range r errs by r² / (12 cap²) a feature, so with the weight columns W_c behind the features

    error(k) = Σ_normal ‖W_c‖² · r_lo² / (12 (Q − 1)²)  +  Σ_salient ‖W_c‖² · r_hi² / (12 cap²)

and the benefit of k salient features is error(0) − error(k). r² is the mean over tokens of the squared range; of a part
with a range of its own it is taken in proportion to the part's mean square where a rotation mixes the part, else to its
largest mean square. With ranges shared this is the sum of `allocate.step_benefit`.

With a split of the residual stream the layers behind its norms keep the share of the spec, since one rotation serves
all of them; the rest of the budget goes to the values and the hidden features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from darkit_nb.convert.allocate import Option, knapsack
from darkit_nb.convert.folding import linear_of
from darkit_nb.convert.prepare import even_count, float_block
from darkit_nb.convert.rotation import salient_count
from darkit_nb.convert.saliency import feature_saliency
from darkit_nb.convert.skeleton import Skeleton
from darkit_nb.convert.statistics import FeatureStatistics, watching
from darkit_nb.records.conversion import ConversionSpec
from darkit_nb.records.spike_spec import SpikeSpec

MULTIPLES = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Shares a group is offered, in multiples of the spec's."""


@dataclass(frozen=True)
class GroupFacts:
    """What a group's share is decided by; features (or directions) lie with the most salient first.

    Attributes:
        square: `[D]`, mean x².
        column: `[D]`, ‖W_c‖² over all layers of the group.
        range_square: mean over tokens of the squared range of all features.
        outputs: O of all layers of the group together.
        mixed: a rotation mixes each part within itself.
        offers: shares on offer, each with the number of features it makes salient.
    """

    square: Tensor
    column: Tensor
    range_square: float
    outputs: int
    mixed: bool
    offers: tuple[tuple[float, int], ...]

    @property
    def features(self) -> int:
        """D."""
        return len(self.square)

    def _level(self, part: Tensor) -> Tensor:
        """What the squared range of a part goes with."""
        return part.mean() if self.mixed else part.amax()

    def error(self, count: int, spike: SpikeSpec) -> float:
        """The formula above for `count` salient features."""
        low, high = self.column[count:].sum(), self.column[:count].sum()
        range_low = range_high = torch.as_tensor(self.range_square, dtype=self.square.dtype)
        if spike.ranges == "own" and 0 < count < self.features:
            whole = self._level(self.square)
            range_low = range_low * self._level(self.square[count:]) / whole
            range_high = range_high * self._level(self.square[:count]) / whole
        normal = low * range_low / (spike.num_levels - 1) ** 2
        return float((normal + high * range_high / spike.cap**2) / 12)

    def options(self, spike: SpikeSpec) -> list[Option]:
        """Cost in multiply-accumulates a token beyond one step, and benefit, of each of `offers`."""
        none = self.error(0, spike)
        return [
            (count * (spike.num_steps - 1) * self.outputs, none - self.error(count, spike)) for _, count in self.offers
        ]


def offered(spike: SpikeSpec, rounded: Callable[[float], int], *, fixed: bool = False) -> tuple[tuple[float, int], ...]:
    """Shares on offer with the numbers of features they come to.

    Args:
        spike: its `salient_fraction` is what multiples are taken of.
        rounded: number of salient features of a share > 0, as the conversion will round it.
        fixed: offer the share of the spec alone.
    """
    shares = [spike.salient_fraction] if fixed else [multiple * spike.salient_fraction for multiple in MULTIPLES]
    return tuple((share, rounded(share) if share else 0) for share in shares if share < 1)


def shared_out(groups: dict[str, GroupFacts], spike: SpikeSpec, mean_steps: float) -> dict[str, float]:
    """The share of salient features of every group so that the whole costs at most `mean_steps` steps.

    Args:
        groups: by name.
        spike: its `salient_fraction` is what multiples are taken of.
        mean_steps: mean over all multiply-accumulates of the groups, ≥ 1.

    Raises:
        ConfigError: fixed shares alone cost more.
    """
    work = sum(group.features * group.outputs for group in groups.values())
    chosen = knapsack([group.options(spike) for group in groups.values()], int((mean_steps - 1) * work + 1e-6))
    return {name: group.offers[index][0] for (name, group), index in zip(groups.items(), chosen, strict=True)}


class GroupWatch:
    """Gathers the facts of one group from tokens.

    Args:
        layers: weights `[O, D]` of the layers that share the input.
        head: width of the heads that are split one by one; None where features are taken as they are.
    """

    def __init__(self, layers: Iterable[nn.Linear], head: int | None = None) -> None:
        self.weight = torch.cat([layer.weight.detach().double() for layer in layers])
        features = self.weight.shape[1]
        self.statistics = FeatureStatistics(features, gram_width=head, device=self.weight.device)
        self.energy = FeatureStatistics(1, device=self.weight.device)

    def update(self, x: Tensor) -> None:
        """Take in tokens `[*B, D]`."""
        self.statistics.update(x)
        width = x.amax(-1, keepdim=True).clamp(min=0) - x.amin(-1, keepdim=True).clamp(max=0)
        self.energy.update(width.square())

    def facts(self, spike: SpikeSpec, *, mixed: bool, offers: tuple[tuple[float, int], ...]) -> GroupFacts:
        """What was gathered, the most salient feature or direction first."""
        self.statistics.reduce()
        self.energy.reduce()
        square = self.statistics.square / max(1, self.statistics.count)
        column = self.weight.square().sum(0)
        if self.statistics.gram is not None:
            square, column = _directions(self.statistics.gram / max(1, self.statistics.count), self.weight)
            score = square
        elif mixed:
            score = square * column
        else:
            score = feature_saliency(
                spike.saliency if spike.saliency != "energy" else "error",
                gram=torch.empty(0),
                low=self.statistics.low,
                high=self.statistics.high,
                weight=self.weight,
            )
        order = torch.sort(score, descending=True, stable=True).indices
        outputs = self.weight.shape[0]
        return GroupFacts(square[order], column[order], float(self.energy.mean), outputs, mixed, offers)


def _directions(gram: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squares and ‖W U‖² of the principal directions of every head, `[D]` each."""
    values, vectors = torch.linalg.eigh((gram + gram.transpose(1, 2)) / 2)
    turned = weight.unflatten(1, (gram.shape[0], -1)).transpose(0, 1) @ vectors
    return values.clamp(min=0).flatten(), turned.square().sum(1).flatten()


def _rounding(name: str, features: int, skeleton: Skeleton, split: bool) -> Callable[[float], int]:
    """How the conversion rounds a share of this group: by head, in even parts, or to the nearest feature."""
    widths, family = skeleton.widths, skeleton.family
    if split and name == family.output:
        return lambda share: widths.heads * salient_count(widths.head, share)
    if split and name == family.down:
        return lambda share: even_count(features, share)
    if split:
        return lambda share: salient_count(features, share)
    return lambda share: max(1, round(share * features))


@torch.no_grad()
def find_shares(
    skeleton: Skeleton, rotation: Tensor | None, stream: list[Tensor], spec: ConversionSpec
) -> list[dict[str, float]]:
    """The share of salient features of every group of every block, by the first layer of the group.

    Args:
        skeleton: the model.
        rotation: R of the residual stream, or None.
        stream: float hidden states before the first block, rotated if the stream is.
        spec: with a `steps_budget`.

    Raises:
        ConfigError: the budget is too small for what is fixed.
    """
    family, spike = skeleton.family, spec.spike
    if spec.steps_budget is None or spike is None:
        return [{} for _ in range(skeleton.blocks)]
    split = spec.rotation == "split"
    normed = {readers[0] for _, readers in family.norms}
    groups: dict[str, GroupFacts] = {}
    for index in range(skeleton.blocks):
        block = float_block(skeleton, index, rotation)
        watches = {
            group[0]: GroupWatch(
                [linear_of(block, name) for name in group],
                skeleton.widths.head if split and group[0] == family.output else None,
            )
            for group in family.groups
        }
        with watching(
            {name: block.get_submodule(name) for name in watches},
            lambda name, x, watches=watches: watches[name].update(x),
        ):
            stream = skeleton.run(block, index, stream)
        for name, watch in watches.items():
            fixed = split and (name in normed or (name == family.down and not spec.online_rotation))
            mixed = rotation is not None and (name != family.down or spec.online_rotation)
            rounded = _rounding(name, watch.weight.shape[1], skeleton, split)
            offers = offered(spike, rounded, fixed=fixed)
            groups[f"{index} {name}"] = watch.facts(spike, mixed=mixed, offers=offers)
    shares = shared_out(groups, spike, spec.steps_budget)
    return [{group[0]: shares[f"{index} {group[0]}"] for group in family.groups} for index in range(skeleton.blocks)]
