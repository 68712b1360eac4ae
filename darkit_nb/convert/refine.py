"""Block-wise refinement: scales, clipping and transforms learned until a quantised block gives what the float one gave.

    min  mean ‖block(x) − block_q(x̂)‖²      over s, r (scales), a, b (clipping), P (transforms)

with x the float stream and x̂ the quantised one before the block. One sequence a step, in their order; AdamW without
weight decay. What is learned is folded into the block's weights; the clipping goes on as the grid of each weight.

 * scales (LET): norm → queries, keys, values; norm → MLP; values → output layer, one scale for all query heads that
   share a value head; queries and keys only where keys are coded, and then one scale for both halves of a rotary pair,
   since any other would not pass through the rotary embedding.
 * clipping (LWC): `convert.lwc`.
 * transforms: `nn.kronecker`, the same for all layers that share an input.

Source: Shao et al. 2024 (OmniQuant, arXiv 2308.13137); Sun et al. 2024 (FlatQuant, arXiv 2410.09426) for transforms;
the salient features and their steps are those of Xing et al. 2025 (SpikeLLM).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from darkit_nb.convert import folding
from darkit_nb.convert.grid import WeightGrid
from darkit_nb.convert.relations import Family, Widths
from darkit_nb.convert.scaling import shared_among_heads, smooth_scale
from darkit_nb.convert.trainable import LearnedScale, Once, ScaledNorm, TrainableLinear, head_view, rotary_view
from darkit_nb.errors import TrainingError
from darkit_nb.nn.kronecker import KroneckerTransform, kronecker_factors
from darkit_nb.records.conversion import ConversionSpec
from darkit_nb.records.spike_spec import Backend
from darkit_nb.train.group import world
from darkit_nb.train.processes import reduce_max, reduce_sum

Call = Callable[[nn.Module, Tensor], Tensor]
"""Runs a block over hidden states `[b, L, D]` as the model would."""


@dataclass(frozen=True)
class BlockShape:
    """What a block is: the relations of its family, its sizes, and whether its positions are rotary."""

    family: Family
    widths: Widths
    rotary: bool


@dataclass
class Refined:
    """What was learned.

    Attributes:
        grids: the learned grid of every weight by layer name, empty without learned clipping.
        losses: mean squared error of each epoch, the first before any step of it.
    """

    grids: dict[str, WeightGrid] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)


def refine_block(
    block: nn.Module,
    shape: BlockShape,
    spec: ConversionSpec,
    *,
    inputs: Sequence[Tensor],
    targets: Sequence[Tensor],
    call: Call,
    absmax: dict[str, Tensor],
    salient: dict[str, Tensor | None],
    backend: Backend = "auto",
) -> Refined:
    """Learn what `spec` asks for and fold it into `block`, in place.

    Args:
        block: a float block.
        shape: what it is.
        spec: `scaling="let"` learns scales, `weights="lwc"` clipping, `rotation="learned"` scales and transforms.
        inputs: the quantised stream before the block, batch by batch.
        targets: the float block's outputs on the float stream, likewise.
        call: runs a block over one sequence `[1, L, D]`.
        absmax: largest magnitude of each input feature `[D]`, by the first layer of every group; where scales begin.
        salient: bool `[D]` or None by layer name.
        backend: implementation of what is coded, see `ops.backend.resolve_backend`.

    Returns:
        Grids and losses.

    Raises:
        TrainingError: a loss that is not finite.
    """
    # A block of its own whose tensors are those of the float one: nothing writes to them until all is learned.
    trained = copy.deepcopy(block, {id(tensor): tensor for tensor in (*block.parameters(), *block.buffers())})
    parts = _Parts(trained, shape, spec, absmax, salient, backend)
    losses = _train(trained, parts, spec, list(_sequences(inputs)), list(_sequences(targets)), call)
    found = Refined(losses=losses)
    with torch.no_grad():
        parts.fold_into(block)
        for name, layer in parts.layers.items():
            if layer.clipping is not None:
                found.grids[name] = layer.clipping.grid(folding.linear_of(block, name).weight.detach().float())
    return found


def _sequences(stream: Sequence[Tensor]) -> Sequence[Tensor]:
    return [sequence for batch in stream for sequence in batch.split(1)]


def _train(
    block: nn.Module,
    parts: _Parts,
    spec: ConversionSpec,
    inputs: Sequence[Tensor],
    targets: Sequence[Tensor],
    call: Call,
) -> list[float]:
    """Mean loss of every epoch. Nothing is drawn at random, so the same block gives the same scales."""
    optimizer = torch.optim.AdamW(
        [
            {"params": parts.scales, "lr": spec.refine_scaling_rate},
            {"params": parts.clips, "lr": spec.refine_clip_rate},
        ],
        weight_decay=0.0,
        fused=True,
    )
    losses, count = [], _shared_length(len(inputs))
    with torch.enable_grad():
        for epoch in range(spec.refine_epochs):
            total = 0.0
            for step, (x, wanted) in enumerate(zip(inputs[:count], targets[:count], strict=True)):
                loss = (call(block, x).float() - wanted.float()).square().mean()
                value = float(loss.detach())
                if not value < float("inf"):
                    raise _not_finite(value, epoch, step, wanted, x)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                _share_gradients(optimizer)
                optimizer.step()
                parts.once.forget()
                total += value
            losses.append(_mean_of_all(total / count))
    return losses


def _mean_of_all(loss: float) -> float:
    """Mean over the processes, which all have as many sequences."""
    shared = torch.tensor(loss, dtype=torch.float64)
    reduce_sum(shared)
    return float(shared) / world()


def _share_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Mean over the processes of torch.distributed, so that all learn the same; nothing happens without."""
    if world() == 1:
        return
    shared = [parameter.grad for group in optimizer.param_groups for parameter in group["params"]]
    reduce_sum(*shared)
    for gradient in shared:
        gradient /= world()


def _shared_length(count: int) -> int:
    """Sequences every process has: those beyond are left out, since all must step together."""
    fewest = torch.tensor(-float(count))
    reduce_max(fewest)
    return -int(fewest)


def _not_finite(value: float, epoch: int, step: int, wanted: Tensor, x: Tensor) -> TrainingError:
    fine = {name: bool(torch.isfinite(tensor).all()) for name, tensor in (("target", wanted), ("input", x))}
    bad = [name for name, finite in fine.items() if not finite]
    return TrainingError(
        "The loss of the block-wise training is not finite.",
        expected="a finite mean squared error",
        received=f"{value} in epoch {epoch + 1}, sequence {step + 1}",
        cause=f"the block's {' and '.join(bad)} held NaN or infinity" if bad else "the learning rate is too high",
        fix="check the float model on the calibration text" if bad else "lower convert.refine_scaling_rate",
    )


class _Parts:
    """The learned parts of one block, put into a copy of it, and how they fold back."""

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
