"""Block-wise refinement: scales, clipping and transforms learned until a quantised block gives what the float one gave.

    min  mean ‖block(x) − block_q(x̂)‖²      over s, r (scales), a, b (clipping), P (transforms)

with x the float stream and x̂ the quantised one before the block. One sequence a step, in their order; AdamW without
weight decay. What is learned (`learned_parts`) is folded into the block's weights; the clipping goes on as the grid of
each weight.

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
from darkit_nb.convert.learned_parts import BlockShape, LearnedParts
from darkit_nb.errors import TrainingError
from darkit_nb.records.conversion import ConversionSpec
from darkit_nb.records.spike_spec import Backend
from darkit_nb.train.group import world
from darkit_nb.train.processes import reduce_max, reduce_sum

Call = Callable[[nn.Module, Tensor], Tensor]
"""Runs a block over hidden states `[b, L, D]` as the model would."""


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
    parts = LearnedParts(trained, shape, spec, absmax, salient, backend)
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
    parts: LearnedParts,
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
