"""Host side of `kernels/neuron_scan.cu`: outputs, arguments, and the autograd function around it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from darkit_nb.functional.surrogate import DEFAULT_SURROGATE, resolve_surrogate
from darkit_nb.ops._launch import MAX_BLOCKS, X_CODES, Launch, Launcher, ceil_div
from darkit_nb.ops._neuron_blocked import NeuronLaw

THREADS = 128
CHUNK = 8
"""Steps whose membranes the backward keeps in registers, as in the kernel."""


def _plan(
    function: str,
    x: Tensor,
    decay: Tensor,
    threshold: Tensor,
    law: NeuronLaw,
    tensors: tuple[Tensor | None, ...],
    *extra: float,
) -> Launch:
    code = resolve_surrogate(law.surrogate or DEFAULT_SURROGATE, law.alpha)[0].code
    backward = function == "scan_backward"
    # The forward knows no surrogate and no detaching: one module serves all of them.
    defines = (
        ("DK_X", X_CODES[x.dtype]),
        ("DK_INTEGER", int(law.max_count is not None)),
        ("DK_HARD", int(law.reset == "hard")),
        ("DK_SURROGATE", code if backward and law.max_count is None else 0),
        ("DK_DETACH", int(backward and law.detach_reset)),
    )
    steps, neurons = x.shape
    numbers = (steps, neurons, min(decay.dim(), 1), min(threshold.dim(), 1), float(law.max_count or 1), *extra)
    grid = (min(ceil_div(neurons, THREADS), MAX_BLOCKS), 1)
    return Launch("neuron_scan", function, defines, grid, THREADS, (*tensors, *numbers))


class ScanKernel(torch.autograd.Function):
    """`x` `[S, N]`, membrane `[N]`, decay and threshold float32, 0-d or `[N]`; saves its inputs only."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, state: Tensor, decay: Tensor, threshold: Tensor, law: NeuronLaw, launcher: Launcher
    ) -> tuple[Tensor, Tensor]:
        x, state, decay, threshold = (value.contiguous() for value in (x, state, decay, threshold))
        spikes, last = torch.empty_like(x), torch.empty_like(state)
        tensors = (x, state, decay, threshold, spikes, last)
        launcher.launch(_plan("scan_forward", x, decay, threshold, law, tensors))
        ctx.save_for_backward(x, state, decay, threshold)
        ctx.law, ctx.launcher = law, launcher
        return spikes, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor, grad_last: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, state, decay, threshold = ctx.saved_tensors
        law: NeuronLaw = ctx.law
        steps, neurons = x.shape
        chunks = ceil_div(steps, CHUNK)
        checkpoints = torch.empty(chunks, neurons, device=x.device) if chunks > 1 else None
        grad_x, grad_state = torch.empty_like(x), torch.empty_like(state)
        grad_decay, grad_threshold = (
            torch.empty(neurons, device=x.device) if wanted else None for wanted in ctx.needs_input_grad[2:4]
        )
        outputs = (checkpoints, grad_x, grad_state, grad_decay, grad_threshold)
        tensors = (grad_spikes.contiguous(), grad_last.contiguous(), x, state, decay, threshold, *outputs)
        alpha = resolve_surrogate(law.surrogate or DEFAULT_SURROGATE, law.alpha)[1]
        ctx.launcher.launch(_plan("scan_backward", x, decay, threshold, law, tensors, alpha))
        sums = (
            None if found is None else found.sum() if constant.dim() == 0 else found
            for found, constant in ((grad_decay, decay), (grad_threshold, threshold))
        )
        return grad_x, grad_state, *sums, None, None
