"""Host side of `kernels/neuron_scan.cu` and `neuron_scan_backward.cu`: outputs, arguments, and autograd around them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from darkit_nb.functional.packed import packed_bytes
from darkit_nb.functional.surrogate import DEFAULT_SURROGATE, resolve_surrogate
from darkit_nb.ops._launch import MAX_BLOCKS, X_CODES, Launch, Launcher, aligned, ceil_div
from darkit_nb.ops._neuron_blocked import NeuronLaw

THREADS = 128
MARKS = 8
"""Chunks before the last whose first membrane the backward keeps in registers."""

INPUT, BYTES, BITS = 0, 1, 2
"""How spikes are written, DK_OUT."""


def _packs(neurons: int, vec: int, *tensors: Tensor | None) -> tuple[tuple[str, int], ...]:
    """DK_VEC neurons a thread, in whole loads where all rows begin at 16 bytes; one by one otherwise."""
    whole = neurons % vec == 0 and aligned(*tensors)
    return ("DK_VEC", vec if whole else 1), ("DK_ALIGNED", int(whole))


def _grid(neurons: int, packs: tuple[tuple[str, int], ...]) -> tuple[int, int]:
    return min(ceil_div(neurons, THREADS * packs[0][1]), MAX_BLOCKS), 1


def _settings(x: Tensor, law: NeuronLaw) -> tuple[tuple[str, int], ...]:
    return (
        ("DK_X", X_CODES[x.dtype]),
        ("DK_INTEGER", int(law.max_count is not None)),
        ("DK_HARD", int(law.reset == "hard")),
        ("DK_THREADS", THREADS),
    )


def scan_forward(
    x: Tensor,
    state: Tensor | None,
    decay: Tensor,
    threshold: Tensor,
    law: NeuronLaw,
    launcher: Launcher,
    emit: int = INPUT,
) -> tuple[Tensor, Tensor]:
    """Spikes of `x` `[S, N]` and the membrane `[N]` after the last step.

    Args:
        x: contiguous input currents.
        state: contiguous `[N]` float32, or None for rest.
        decay: float32, 0-d or contiguous `[N]`.
        threshold: likewise.
        law: settings of the neuron.
        launcher: starts the kernel.
        emit: INPUT for the dtype of `x`, BYTES for uint8, BITS for `[S, ⌈N/8⌉]` uint8 as `pack_codes(spikes, 1)` packs.
    """
    steps, neurons = x.shape
    if emit == INPUT:
        spikes = torch.empty_like(x)
    else:
        width = neurons if emit == BYTES else packed_bytes(neurons, 1)
        spikes = torch.empty(steps, width, dtype=torch.uint8, device=x.device)
    last = torch.empty(neurons, dtype=torch.float32, device=x.device)
    constants = tuple(value if value.dim() else None for value in (decay, threshold))
    packs = _packs(neurons, 8 if emit == BITS else 16 // x.element_size(), x, state, spikes, *constants)
    if emit == BITS:
        packs = (("DK_VEC", 8), packs[1])
    defines = (*_settings(x, law), *packs, ("DK_OUT", emit))
    numbers = (steps, neurons, min(decay.dim(), 1), min(threshold.dim(), 1), float(law.max_count or 1))
    arguments = (x, state, decay, threshold, spikes, last, *numbers)
    launcher.launch(Launch("neuron_scan", "scan_forward", defines, _grid(neurons, packs), THREADS, arguments))
    return spikes, last


def _backward_shape(x: Tensor) -> tuple[int, int, int]:
    """Neurons a thread, membranes in registers and DK_KEEP for this many steps, so that registers suffice."""
    steps, wide = x.shape[0], 16 // x.element_size()
    if steps <= 4:
        return wide, 4, 0
    if steps <= 8:
        return 4, 8, 0
    return 4, 8, 1 if steps <= 8 * (MARKS + 1) else 2


class ScanKernel(torch.autograd.Function):
    """`x` `[S, N]`, membrane `[N]` or None, decay and threshold float32, 0-d or `[N]`; saves its inputs only."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        state: Tensor | None,
        decay: Tensor,
        threshold: Tensor,
        law: NeuronLaw,
        launcher: Launcher,
        emit: int = INPUT,
    ) -> tuple[Tensor, Tensor]:
        x, decay, threshold = (value.contiguous() for value in (x, decay, threshold))
        state = None if state is None else state.contiguous()
        spikes, last = scan_forward(x, state, decay, threshold, law, launcher, emit)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, state, decay, threshold)
        ctx.law, ctx.launcher = law, launcher
        if emit != INPUT:
            ctx.mark_non_differentiable(spikes)
        return spikes, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor | None, grad_last: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, state, decay, threshold = ctx.saved_tensors
        law: NeuronLaw = ctx.law
        (steps, neurons), device = x.shape, x.device
        grad_spikes = torch.zeros_like(x) if grad_spikes is None else grad_spikes.to(x.dtype).contiguous()
        grad_last = None if grad_last is None else grad_last.contiguous()
        vec, chunk, keep = _backward_shape(x)
        grad_x = torch.empty_like(x)
        grad_state = torch.empty(neurons, device=device) if ctx.needs_input_grad[1] else None
        constants = tuple(value if value.dim() else None for value in (decay, threshold))
        packs = _packs(neurons, vec, x, state, grad_spikes, grad_last, *constants)
        grid = _grid(neurons, packs)
        # A constant of all neurons gets one partial sum a block.
        partial = [
            torch.empty(neurons if value.dim() else grid[0], device=device) if wanted else None
            for value, wanted in zip((decay, threshold), ctx.needs_input_grad[2:4], strict=True)
        ]
        marks = torch.empty(ceil_div(steps, chunk), neurons, device=device) if keep == 2 else None
        code, alpha = 0, 1.0
        if law.max_count is None:
            surrogate, alpha = resolve_surrogate(law.surrogate or DEFAULT_SURROGATE, law.alpha)
            code = surrogate.code
        defines = (
            *_settings(x, law),
            *packs,
            ("DK_SURROGATE", code),
            ("DK_DETACH", int(law.detach_reset)),
            ("DK_CHUNK", chunk),
            ("DK_KEEP", keep),
            ("DK_LEARN", int(any(value is not None for value in partial))),
        )
        tensors = (grad_spikes, grad_last, x, state, decay, threshold, marks, grad_x, grad_state, *partial)
        numbers = (steps, neurons, min(decay.dim(), 1), min(threshold.dim(), 1), float(law.max_count or 1), alpha)
        plan = Launch("neuron_scan_backward", "scan_backward", defines, grid, THREADS, (*tensors, *numbers))
        ctx.launcher.launch(plan)
        sums = (
            None if found is None else found if value.dim() else found.sum()
            for found, value in zip(partial, (decay, threshold), strict=True)
        )
        return grad_x, grad_state, *sums, None, None, None
