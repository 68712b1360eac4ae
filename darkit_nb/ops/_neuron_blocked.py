"""Temporal neurons on the CPU: blocks of neurons that stay in the cache over all steps, nothing saved but the input.

Forward: in place, the membrane of a block never leaves the cache. Backward: the law itself runs again, block by
block, under autograd; its graph covers one block only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from darkit_nb.functional.neuron import Reset
from darkit_nb.functional.neuron import neuron_scan as law_scan
from darkit_nb.ops._gif_blocked import BLOCK_ELEMENTS

SMALLEST = 1024
"""Neurons of a block at least: with very many steps, calls would cost more than leaving the cache."""


@dataclass(frozen=True)
class NeuronLaw:
    """The settings of a temporal neuron that are no tensors."""

    reset: Reset = "soft"
    max_count: int | None = None
    surrogate: str | None = None
    alpha: float | None = None
    detach_reset: bool = False


def neuron_blocks(steps: int, neurons: int) -> Iterator[slice]:
    """Slices of neurons whose inputs over all steps fit the cache."""
    size = max(SMALLEST, BLOCK_ELEMENTS * torch.get_num_threads() // steps)
    for start in range(0, neurons, size):
        yield slice(start, min(neurons, start + size))


def per_block(value: Tensor, block: slice) -> Tensor:
    """A 0-d constant as it is, a `[N]` one cut to the block."""
    return value if value.dim() == 0 else value[block]


def _forward_block(x: Tensor, v: Tensor, spikes: Tensor, decay: Tensor, threshold: Tensor, law: NeuronLaw) -> None:
    """Run `x` `[S, n]` into `spikes`; `v` `[n]` is the membrane, updated in place."""
    fired = torch.empty_like(v)
    for current, out in zip(x.unbind(0), spikes.unbind(0), strict=True):
        v.mul_(decay).add_(current)
        if law.max_count is None:
            torch.ge(v, threshold, out=fired)
        else:
            torch.div(v, threshold, out=fired).clamp_(0, law.max_count).round_()
        out.copy_(fired)
        # Multiply, then subtract: one fused operation would round once and could move a later spike.
        if law.reset == "soft":
            v.sub_(fired.mul_(threshold))
        else:
            v.mul_(fired.neg_().add_(1.0))


class BlockedScan(torch.autograd.Function):
    """`x` `[S, N]`, membrane `[N]`, decay and threshold 0-d or `[N]`, all in the membrane's dtype but `x`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, state: Tensor, decay: Tensor, threshold: Tensor, law: NeuronLaw
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x, state, decay, threshold)
        ctx.law = law
        spikes, v = torch.empty_like(x, memory_format=torch.contiguous_format), state.clone()
        for block in neuron_blocks(*x.shape):
            constants = per_block(decay, block), per_block(threshold, block)
            _forward_block(x[:, block], v[block], spikes[:, block], *constants, law)
        return spikes, v

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor, grad_state: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        inputs, wanted = ctx.saved_tensors, ctx.needs_input_grad[:4]
        grads = [torch.zeros_like(value) if want else None for value, want in zip(inputs, wanted, strict=True)]
        for block in neuron_blocks(*inputs[0].shape):
            x, *rest = inputs
            parts = [x[:, block], *(per_block(value, block) for value in rest)]
            found = _block_gradients(parts, wanted, grad_spikes[:, block], grad_state[block], ctx.law)
            for total, part in zip(grads, found, strict=True):
                if total is not None and part is not None:
                    (total[:, block] if total.dim() == 2 else per_block(total, block)).add_(part)
        return *grads, None


def _block_gradients(
    parts: list[Tensor], wanted: tuple[bool, ...], grad_spikes: Tensor, grad_state: Tensor, law: NeuronLaw
) -> list[Tensor | None]:
    with torch.enable_grad():
        leaves = [part.detach().requires_grad_(want) for part, want in zip(parts, wanted, strict=True)]
        x, state, decay, threshold = leaves
        outputs = law_scan(x, state, decay=decay, threshold=threshold, **vars(law))
        asked = [leaf for leaf in leaves if leaf.requires_grad]
        found = iter(torch.autograd.grad(outputs, asked, (grad_spikes, grad_state), allow_unused=True))
    return [next(found) if want else None for want in wanted]
