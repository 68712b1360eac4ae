"""One block made easy to quantise: norms folded, stream rotated, scales and rotations of its own; the function stays.

Order: fold norms and rotate the residual stream, look at the float stream, scale, rotate heads, rotate before the MLP's
last layer. A scale along a rotated stream acts behind the rotation: the norm keeps it as its gain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from darkit_nb.convert import folding
from darkit_nb.convert.rotation import hadamard_rotation, salient_count, split_rotation
from darkit_nb.convert.scaling import shared_among_heads, smooth_scale, spread_to_heads
from darkit_nb.convert.skeleton import Skeleton
from darkit_nb.convert.statistics import FeatureStatistics, watching
from darkit_nb.nn.rotation import OnlineRotation
from darkit_nb.records.conversion import ConversionSpec


@dataclass
class Prepared:
    """A float block after every step that keeps the function.

    Attributes:
        block: the module.
        outputs: what the float block makes of the float stream, batch by batch.
        salient: features that a split rotation made salient, bool `[D]` by layer name; empty without one.
        shares: share of salient features by the first layer of a group, where it is not that of the spec.
        felt: how much predictions feel the outputs of each layer, by name (`convert.sensitivity`); empty without.
        key_rotation: rotation of queries and keys behind the rotary embedding, where keys are coded rotated.
    """

    block: nn.Module
    outputs: list[Tensor]
    salient: dict[str, Tensor] = field(default_factory=dict)
    key_rotation: OnlineRotation | None = None
    shares: dict[str, float] = field(default_factory=dict)
    felt: dict[str, tuple[Tensor, ...]] = field(default_factory=dict)

    def share_of(self, first: str, spec: ConversionSpec) -> float:
        """Share of salient features of the group whose first layer this is; 0 where activations stay in float."""
        return 0.0 if spec.spike is None else self.shares.get(first, spec.spike.salient_fraction)


def rotates(spec: ConversionSpec) -> bool:
    """Whether the residual stream is rotated."""
    return spec.rotation in ("hadamard", "split")


def seed_of(spec: ConversionSpec, block: int, part: int) -> int:
    """A seed of its own for each rotation of the model; block −1 is the residual stream."""
    return (spec.rotation_seed * 1_000_003 + (block + 1) * 101 + part) % 2**31


def salient_first(width: int, fraction: float, blocks: int = 1) -> Tensor:
    """The first k features of each of `blocks` parts of `width` features, bool `[blocks · width]`."""
    mask = torch.arange(width) < salient_count(width, fraction)
    return mask.repeat(blocks)


@torch.no_grad()
def residual_statistics(skeleton: Skeleton, spec: ConversionSpec, stream: list[Tensor]) -> Tensor:
    """Σ over all norms of all blocks of E[x xᵀ] of what they give out without their gain, float64 `[D, D]`.

    With `spec.rotation_weighted` it is D C D, D the norms of the columns of all weights behind them.
    """
    family, width = skeleton.family, skeleton.widths.hidden
    total = torch.zeros(width, width, dtype=torch.float64, device=skeleton.device)
    columns = torch.zeros(width, dtype=torch.float64, device=skeleton.device)
    for index in range(skeleton.blocks):
        block = skeleton.block(index)
        folding.fold_norms(block, family)
        seen = {
            readers[0]: FeatureStatistics(width, gram_width=width, device=total.device) for _, readers in family.norms
        }
        if family.centred:
            stream = [hidden - hidden.mean(-1, keepdim=True) for hidden in stream]
        modules = {name: block.get_submodule(name) for name in seen}
        with watching(modules, lambda name, x, seen=seen: seen[name].update(x)):
            stream = skeleton.run(block, index, stream)
        for _, readers in family.norms:
            statistics = seen[readers[0]]
            statistics.reduce()
            total += statistics.matrix
            for reader in readers:
                columns += folding.linear_of(block, reader).weight.double().square().sum(0)
    if spec.rotation_weighted:
        norms = columns.sqrt()
        total = total * norms * norms.unsqueeze(1)
    return total


def residual_rotation(spec: ConversionSpec, width: int, covariance: Tensor | None) -> Tensor:
    """R of the residual stream, float64 `[D, D]`."""
    seed = seed_of(spec, -1, 0)
    if covariance is None or spec.spike is None:
        return hadamard_rotation(width, seed)
    return split_rotation(covariance, salient_count(width, spec.spike.salient_fraction), seed)


@torch.no_grad()
def float_block(skeleton: Skeleton, index: int, rotation: Tensor | None) -> nn.Module:
    """A block that works on the float stream, which is rotated where there is a rotation."""
    block = skeleton.block(index)
    if rotation is not None:
        folding.fold_norms(block, skeleton.family)
        folding.rotate_residual(block, skeleton.family, rotation)
    return block


@torch.no_grad()
def prepare_block(
    skeleton: Skeleton,
    index: int,
    stream: list[Tensor],
    spec: ConversionSpec,
    rotation: Tensor | None,
    shares: Mapping[str, float] | None = None,
) -> Prepared:
    """Load a block and do everything to it that keeps the function.

    Args:
        skeleton: the model.
        index: of the block.
        stream: float hidden states before it, rotated if the stream is.
        spec: what to do.
        rotation: R of the residual stream, or None.
        shares: share of salient features by the first layer of a group, where it is not that of the spec.
    """
    family, widths = skeleton.family, skeleton.widths
    block = float_block(skeleton, index, rotation)
    seen = _look_at(block, skeleton, spec)
    modules = {name: block.get_submodule(name) for name in seen}
    with watching(modules, lambda name, x: seen[name].update(x)):
        outputs = skeleton.run(block, index, stream)
    for statistics in seen.values():
        statistics.reduce()
    prepared = Prepared(block, outputs, shares=dict(shares or {}))
    if spec.scaling == "smooth":
        _smooth(block, skeleton, spec, seen)
    if rotation is not None:
        if spec.rotation == "split" and spec.spike is not None:
            mask = salient_first(widths.hidden, spec.spike.salient_fraction)
            prepared.salient |= {name: mask for _, readers in family.norms for name in readers}
        _rotate_heads(prepared, skeleton, index, spec, seen[family.output])
        if spec.online_rotation:
            _rotate_hidden(prepared, skeleton, index, spec, seen[family.down])
        if spec.spike is not None and spec.spike.attention:
            prepared.key_rotation = OnlineRotation([widths.head], seed=seed_of(spec, index, 3), device=skeleton.device)
    return prepared


def _look_at(block: nn.Module, skeleton: Skeleton, spec: ConversionSpec) -> dict[str, FeatureStatistics]:
    """Statistics of the first layer of each group: the others of a group see the same."""
    family, seen = skeleton.family, {}
    for group in family.groups:
        features = folding.linear_of(block, group[0]).in_features
        gram_width = skeleton.widths.head if group[0] == family.output and spec.rotation == "split" else None
        seen[group[0]] = FeatureStatistics(features, gram_width=gram_width, device=skeleton.device)
    return seen


def _smooth(block: nn.Module, skeleton: Skeleton, spec: ConversionSpec, seen: dict[str, FeatureStatistics]) -> None:
    """SmoothQuant's closed form wherever it folds: norms, values, and hidden features where the activation lets it."""
    family, widths = skeleton.family, skeleton.widths

    def scale_for(names: tuple[str, ...]) -> Tensor:
        weights = [folding.linear_of(block, name).weight for name in names]
        return smooth_scale(seen[names[0]].absmax, weights, spec.scaling_alpha)

    for norm, readers in family.norms:
        scale = scale_for(readers)
        layers = [folding.linear_of(block, name) for name in readers]
        folding.scale_norm(block.get_submodule(norm), layers, scale)
        seen[readers[0]].divide(scale)
    scale = scale_for((family.output,))
    folding.scale_values(block, family, widths, scale)
    shared = shared_among_heads(scale, widths.heads, widths.kv_heads)
    seen[family.output].divide(spread_to_heads(shared, widths.heads, widths.kv_heads))
    if family.scaled_by is not None:
        scale = scale_for((family.down,))
        folding.scale_hidden(block, family, scale)
        seen[family.down].divide(scale)


def _rotate_heads(
    prepared: Prepared, skeleton: Skeleton, index: int, spec: ConversionSpec, seen: FeatureStatistics
) -> None:
    family, widths = skeleton.family, skeleton.widths
    fraction = prepared.share_of(family.output, spec)
    if spec.rotation == "split" and fraction and seen.gram is not None:
        count = salient_count(widths.head, fraction)
        shared = seen.gram.unflatten(0, (widths.kv_heads, -1)).sum(1)
        rotations = torch.stack(
            [split_rotation(gram, count, seed_of(spec, index, 10 + head)) for head, gram in enumerate(shared)]
        )
        prepared.salient[family.output] = salient_first(widths.head, fraction, widths.heads)
    else:
        rotations = torch.stack(
            [hadamard_rotation(widths.head, seed_of(spec, index, 10 + head)) for head in range(widths.kv_heads)]
        )
    folding.rotate_heads(prepared.block, family, widths, rotations.to(skeleton.device))


def _rotate_hidden(
    prepared: Prepared, skeleton: Skeleton, index: int, spec: ConversionSpec, seen: FeatureStatistics
) -> None:
    family, inner = skeleton.family, seen.features
    blocks = [inner]
    if spec.rotation == "split" and (fraction := prepared.share_of(family.down, spec)):
        count = even_count(inner, fraction)
        weight = folding.linear_of(prepared.block, family.down).weight.double()
        score = (seen.square / max(1, seen.count)) * weight.square().sum(0)
        order = torch.sort(score, descending=True, stable=True).indices
        # Heavy features first, both parts in their old order.
        order = torch.cat([order[:count].sort().values, order[count:].sort().values])
        folding.permute_hidden(prepared.block, family, order)
        blocks = [count, inner - count]
        prepared.salient[family.down] = torch.arange(inner) < count
    rotation = OnlineRotation(blocks, seed=seed_of(spec, index, 1), device=skeleton.device)
    folding.rotate_online(prepared.block, family.down, rotation)


def even_count(width: int, fraction: float) -> int:
    """k up to fraction · n, a multiple of the largest power of two that leaves at least eight such parts.

    Both blocks of the online rotation then have large binary factors, and its odd factors stay small.
    """
    unit = width & -width
    while unit > 1 and unit > max(1, round(fraction * width)) // 2:
        unit //= 2
    return min(max(unit, int(fraction * width / unit) * unit), width - unit)
