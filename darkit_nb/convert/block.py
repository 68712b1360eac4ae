"""One block converted: layers that share an input are coded together, each group on what the coded ones before it give.

x̂ = dequantise(gif_encode(x R))     Ŵ = code of W with H = E[x̂ x̂ᵀ]     x in the quantised stream
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, cast

import torch
from torch import Tensor, nn

from darkit_nb.convert.attention import spike_attention
from darkit_nb.convert.folding import linear_of, rotation_before
from darkit_nb.convert.grid import WeightGrid
from darkit_nb.convert.narrowing import best_share, cut_before
from darkit_nb.convert.prepare import Prepared
from darkit_nb.convert.refining import refine
from darkit_nb.convert.saliency import feature_saliency
from darkit_nb.convert.seen import Coding, encoded, seen_by
from darkit_nb.convert.skeleton import TOKENS_PER_BATCH, Skeleton
from darkit_nb.convert.statistics import FeatureStatistics
from darkit_nb.convert.weights import quantise_weight
from darkit_nb.functional.saliency import choose_salient
from darkit_nb.nn.packed_linear import PackedLinear, PackedSpikeLinear
from darkit_nb.nn.rotation import OnlineRotation
from darkit_nb.records.conversion import STEPWISE, ConversionSpec, LayerError
from darkit_nb.records.spike_spec import SpikeSpec, code_cap
from darkit_nb.train.processes import reduce_sum

MEASURED_TOKENS = 4 * TOKENS_PER_BATCH
"""Tokens on which the error of single layers is measured."""


@dataclass
class Converted:
    """A converted block with both streams behind it.

    Attributes:
        block: the module; its linear layers are packed.
        outputs: the quantised stream behind it, batch by batch.
        error: relative squared error of `outputs` against the float stream.
        own_error: the same with the float stream before both.
        layers: what is known of each layer.
        losses: mean training loss of each epoch of refinement.
    """

    block: nn.Module
    outputs: list[Tensor]
    error: float
    own_error: float
    layers: tuple[LayerError, ...]
    losses: tuple[float, ...] = ()


def uses_salience(spike: SpikeSpec | None) -> bool:
    """Whether some features are treated apart: more steps, or a range of their own."""
    return spike is not None and spike.salient_fraction > 0 and (spike.num_steps > 1 or spike.ranges == "own")


def chosen_layers(skeleton: Skeleton, index: int, spec: ConversionSpec) -> set[str]:
    """Layers of a block that are converted, by the patterns of the spec; all of them where it has none."""
    spike = spec.spike or SpikeSpec()
    prefix = skeleton.block_name(index)
    return {
        name
        for name in skeleton.family.linears
        if any(fnmatchcase(f"{prefix}.{name}", pattern) for pattern in spike.include)
        and not any(fnmatchcase(f"{prefix}.{name}", pattern) for pattern in spike.exclude)
    }


@torch.no_grad()
def convert_block(
    skeleton: Skeleton, index: int, prepared: Prepared, floats: list[Tensor], stream: list[Tensor], spec: ConversionSpec
) -> Converted:
    """Code all linear layers of a prepared block, group by group.

    Args:
        skeleton: the model.
        index: of the block.
        prepared: the block after every step that keeps its function.
        floats: the float stream before it, batch by batch.
        stream: the quantised stream before it.
        spec: what to do.
    """
    block = prepared.block
    shares = {group[0]: prepared.share_of(group[0], spec) for group in skeleton.family.groups}
    learned = refine(
        skeleton, index, block, floats=floats, stream=stream, targets=prepared.outputs, spec=spec, shares=shares
    )
    prepared.salient |= learned.salient
    reference = copy.deepcopy(block)
    chosen = chosen_layers(skeleton, index, spec)
    at = Coding(skeleton, index, spec, block, reference, floats, stream)
    for group in skeleton.family.groups:
        members = [name for name in group if name in chosen]
        if members:
            _convert_group(at, prepared, members, learned.grids)
        if group == skeleton.family.attention_inputs and spec.spike is not None and spec.spike.attention:
            spike_attention(skeleton, index, prepared, stream, spec.spike)
    with _LayerErrors(block, reference, sorted(chosen)) as errors:
        outputs = skeleton.run(block, index, stream)
    few = max(1, MEASURED_TOKENS // floats[0].shape[:-1].numel())
    own = skeleton.run(block, index, floats[:few])
    layers = [
        _layer_error(f"{skeleton.block_name(index)}.{name}", block, reference, name, spec, errors.of(name))
        for name in skeleton.family.linears
        if name in chosen
    ]
    error, own_error = relative_error(outputs, prepared.outputs), relative_error(own, prepared.outputs[:few])
    return Converted(block, outputs, error, own_error, tuple(layers), learned.losses)


def _convert_group(at: Coding, prepared: Prepared, members: Sequence[str], grids: dict[str, WeightGrid]) -> None:
    """Code the layers `members`, which share their input; `grids` are scales learned for some of them."""
    spec, block, first = at.spec, at.block, members[0]
    layers = {name: linear_of(block, name) for name in members}
    rotation = rotation_before(block, first)
    masks = {name: prepared.salient.get(name) for name in members}
    if uses_salience(spec.spike) and any(mask is None for mask in masks.values()):
        masks = _choose(at, layers, prepared.share_of(at.skeleton.family.group_of(first), spec))
    if isinstance(rotation, OnlineRotation) and spec.hidden_clip and spec.spike is not None:
        # Of the coded block only: the float one stays as it was.
        inputs = (x for x, _ in at.inputs(first))
        rotation.keep = best_share(rotation, inputs, lambda x: encoded(x, spec.spike, masks[first]), MEASURED_TOKENS)
    if spec.norm_clip and rotation is None:
        rotation = cut_before(at, members, masks, MEASURED_TOKENS)
    seen = seen_by(at, first, masks)
    for name, layer in layers.items():
        mask = masks[name]
        known = seen.get(name)
        weight = quantise_weight(
            layer.weight.detach().float(),
            spec,
            hessian=known and known.hessian,
            cross=known and known.cross,
            missing=known and known.missing,
            grid=grids.get(name),
            salient=mask,
            felt=prepared.felt.get(name),
        )
        if spec.spike is None:
            packed: nn.Module = PackedLinear.from_weight(weight, layer.bias, rotation)
        else:
            packed = PackedSpikeLinear.from_weight(weight, layer.bias, spec.spike, mask, rotation)
            object.__setattr__(packed, "spike_name", f"{at.skeleton.block_name(at.index)}.{name}")
        block.set_submodule(name, packed.eval().requires_grad_(False))


def _choose(at: Coding, layers: dict[str, nn.Linear], share: float) -> dict[str, Tensor | None]:
    """Salient features of each layer by the score of the spec, from the quantised stream before coding."""
    spike = at.spec.spike
    if spike is None:
        return dict.fromkeys(layers)
    first = next(iter(layers))
    features = layers[first].in_features
    width = features if spike.saliency == "energy" else None
    seen = FeatureStatistics(features, gram_width=width, device=at.skeleton.device)
    for x, _ in at.inputs(first):
        seen.update(x)
    seen.reduce()
    masks: dict[str, Tensor | None] = {}
    for name, layer in layers.items():
        gram = seen.matrix if width else torch.empty(0)
        score = feature_saliency(
            spike.saliency, gram=gram, low=seen.low, high=seen.high, weight=layer.weight.detach().double()
        )
        masks[name] = choose_salient(score, share, above_quantile=spike.coding == "paper")
    return masks


def relative_error(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """‖y_q − y‖² / ‖y‖² over all tokens, of all processes."""
    sums = torch.zeros(2, dtype=torch.float64)
    for one, other in zip(found, expected, strict=True):
        sums[0] += (one - other).double().square().sum().cpu()
        sums[1] += other.double().square().sum().cpu()
    reduce_sum(sums)
    return float(sums[0] / sums[1]) if sums[1] > 0 else math.nan


class _LayerErrors:
    """Compares every packed layer with its float one on the same input, for the first tokens of a run."""

    def __init__(self, block: nn.Module, reference: nn.Module, names: Sequence[str]) -> None:
        self._sums = {name: torch.zeros(2, dtype=torch.float64) for name in names}
        self._left = dict.fromkeys(names, MEASURED_TOKENS)
        self._pairs = {name: (block.get_submodule(name), reference.get_submodule(name)) for name in names}

    def __enter__(self) -> _LayerErrors:
        self._handles = [
            packed.register_forward_hook(self._hook(name, original)) for name, (packed, original) in self._pairs.items()
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _hook(self, name: str, original: nn.Module):
        def compare(_: nn.Module, args: tuple[Tensor, ...], found: Tensor) -> None:
            if self._left[name] <= 0:
                return
            self._left[name] -= args[0].shape[:-1].numel()
            expected = original(args[0])
            self._sums[name][0] += (found - expected).double().square().sum().cpu()
            self._sums[name][1] += expected.double().square().sum().cpu()

        return compare

    def of(self, name: str) -> float:
        """Relative squared error of one layer."""
        sums = self._sums[name]
        reduce_sum(sums)
        return float(sums[0] / sums[1]) if sums[1] > 0 else 0.0


def _layer_error(
    full: str, block: nn.Module, reference: nn.Module, name: str, spec: ConversionSpec, error: float
) -> LayerError:
    packed, layer = cast(Any, block.get_submodule(name)), linear_of(reference, name)
    mask = getattr(packed, "salient", None)
    share = float(mask.float().mean()) if uses_salience(spec.spike) and isinstance(mask, Tensor) else 0.0
    steps, code_bits = step_bits(spec.spike, share)
    return LayerError(
        name=full,
        in_features=layer.in_features,
        out_features=layer.out_features,
        error=error,
        mean_steps=steps,
        activation_bits=spec.activation_bits,
        code_bits=code_bits,
        weight_bits=operation_bits(spec),
        storage_bits=packed.storage_bits,
    )


def step_bits(spike: SpikeSpec | None, share: float) -> tuple[float, float]:
    """Mean steps and mean code bits of an activation when `share` of the features is salient."""
    if spike is None:
        return 1.0, 16.0
    top = math.log2(code_cap(spike.num_levels, spike.num_steps, spike.coding) + 1)
    return 1 + share * (spike.num_steps - 1), (1 - share) * math.log2(spike.num_levels) + share * top


def operation_bits(spec: ConversionSpec) -> float:
    """Bits of a weight as operations count: nominal, or one ternary plane a step, or the mix of 1 and 8 bits."""
    share = spec.weight_salient_fraction
    if spec.weights in STEPWISE:
        return math.log2(3) * (1 + share * (spec.weight_steps - 1))
    if spec.weights == "pb_llm":
        return 1 - share + 8 * share
    return float(spec.weight_bits)
