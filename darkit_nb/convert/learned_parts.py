"""The learned parts of one block: where they go in a copy of it, and how they fold back into its weights.

* scales (LET): norm → queries, keys, values; norm → MLP; values → output layer, one scale for all query heads that
  share a value head; queries and keys only where keys are coded, and then one scale for both halves of a rotary pair,
  since any other would not pass through the rotary embedding.
* clipping (LWC): `convert.lwc`.
* transforms: `nn.kronecker`, the same for all layers that share an input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from darkit_nb.convert import folding
from darkit_nb.convert.relations import Family, Widths
from darkit_nb.convert.scaling import shared_among_heads, smooth_scale
from darkit_nb.convert.trainable import LearnedScale, Once, ScaledNorm, TrainableLinear, head_view, rotary_view
from darkit_nb.nn.kronecker import KroneckerTransform, kronecker_factors
from darkit_nb.records.conversion import ConversionSpec
from darkit_nb.records.spike_spec import Backend


@dataclass(frozen=True)
class BlockShape:
    """What a block is: the relations of its family, its sizes, and whether its positions are rotary."""

    family: Family
    widths: Widths
    rotary: bool


class LearnedParts:
    """What `refine_block` learns, put into a copy of a block.

    Args:
        block: the copy; its layers and norms are replaced.
        shape: what it is.
        spec: what is learned.
        absmax: largest magnitude of each input feature `[D]`, by the first layer of every group.
        salient: bool `[D]` or None by layer name.
        backend: implementation of what is coded.
    """

    def __init__(
        self,
        block: nn.Module,
        shape: BlockShape,
        spec: ConversionSpec,
        absmax: dict[str, Tensor],
        salient: dict[str, Tensor | None],
        backend: Backend,
    ) -> None:
        family = shape.family
        self.shape, self.spec, self.once = shape, spec, Once()
        block.requires_grad_(False)
        self.layers: dict[str, TrainableLinear] = {}
        self.norms: dict[str, LearnedScale] = {}
        self.values: LearnedScale | None = None
        self.keys: LearnedScale | None = None
        self.transforms: dict[str, KroneckerTransform] = {}
        originals = {name: folding.linear_of(block, name) for name in family.linears}
        for name, layer in originals.items():
            self.layers[name] = TrainableLinear(layer, spec, salient.get(name), self.once, backend)
            block.set_submodule(name, self.layers[name])
        if spec.scaling == "let" or spec.rotation == "learned":
            self._add_scales(block, originals, absmax)
        if spec.rotation == "learned":
            self._add_transforms()

    def _add_scales(self, block: nn.Module, originals: dict[str, nn.Linear], absmax: dict[str, Tensor]) -> None:
        family, widths, alpha = self.shape.family, self.shape.widths, self.spec.scaling_alpha
        for norm, readers in family.norms:
            weights = [originals[name].weight for name in readers]
            scale = LearnedScale(smooth_scale(absmax[readers[0]], weights, alpha).float(), self.once)
            self.norms[norm] = scale
            block.set_submodule(norm, ScaledNorm(block.get_submodule(norm), scale))
            for name in readers:
                self.layers[name].reads = scale
        if family.fused:
            return  # queries, keys and values come from one layer, and a row scale of a part of it gains nothing here
        first = smooth_scale(absmax[family.output], [originals[family.output].weight], alpha)
        shared = shared_among_heads(first, widths.heads, widths.kv_heads).float()
        self.values = LearnedScale(shared, self.once)
        self.layers[family.value].writes = self.values
        self.layers[family.output].reads = _viewed(self.values, head_view(widths.heads, widths.kv_heads))
        if self.spec.spike is not None and self.spec.spike.attention:
            self._add_key_scales(family, widths)

    def _add_key_scales(self, family: Family, widths: Widths) -> None:
        """Keys divided, queries multiplied, beginning at 1."""
        repeats = widths.heads // widths.kv_heads
        if self.shape.rotary:
            start, keys = widths.kv_heads * widths.head // 2, rotary_view(widths.kv_heads)
            queries = rotary_view(widths.kv_heads, repeats)
        else:
            start, keys = widths.kv_heads * widths.head, head_view(widths.kv_heads, widths.kv_heads)
            queries = head_view(widths.heads, widths.kv_heads)
        device = self.layers[family.value].weight.device
        self.keys = LearnedScale(torch.ones(start, device=device), self.once, keys)
        query, key = family.attention_inputs[:2]
        self.layers[key].writes = self.keys
        self.layers[query].writes = _viewed(self.keys, lambda value: 1 / queries(value))

    def _add_transforms(self) -> None:
        for group in self.shape.family.groups:
            layer = self.layers[group[0]]
            made = KroneckerTransform(*kronecker_factors(layer.weight.shape[1]), device=layer.weight.device)
            for name in group:
                self.layers[name].transform = made
                self.transforms[name] = made

    @property
    def scales(self) -> list[nn.Parameter]:
        """Everything learned at the rate of scales."""
        shared = [self.values, self.keys]
        found = [scale.raw for scale in (*self.norms.values(), *shared) if scale is not None]
        for group in self.shape.family.groups:
            if group[0] in self.transforms:
                found += list(self.transforms[group[0]].parameters())
        return found

    @property
    def clips(self) -> list[nn.Parameter]:
        """Everything learned at the rate of clipping."""
        return [
            part for layer in self.layers.values() if layer.clipping is not None for part in layer.clipping.parameters()
        ]

    def fold_into(self, block: nn.Module) -> None:
        """Put the learned scales and transforms into the float block."""
        for norm, scale in self.norms.items():
            _divide_norm(block.get_submodule(norm), scale().double())
        for name, layer in self.layers.items():
            target = folding.linear_of(block, name)
            weight, bias = layer.effective()
            target.weight.data = weight.to(target.weight.dtype)
            if bias is not None:
                target.bias.data = bias.to(target.weight.dtype)
            if name in self.transforms:
                shared = self.transforms[name].requires_grad_(False)
                block.set_submodule(name, nn.Sequential(shared, target))


def _viewed(scale: LearnedScale, view: Callable[[Tensor], Tensor]) -> LearnedScale:
    """The same parameter, spread in another way."""
    other = LearnedScale(scale.raw, scale.once, view)
    other.raw = scale.raw
    return other


def _divide_norm(norm: nn.Module, scale: Tensor) -> None:
    for part in (norm.weight, getattr(norm, "bias", None)):
        if isinstance(part, Tensor):
            part.data = (part.detach().double() / scale).to(part.dtype)
