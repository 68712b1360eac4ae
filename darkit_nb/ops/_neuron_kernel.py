"""Host side of `kernels/neuron_scan.cu` and `neuron_scan_backward.cu`: outputs, arguments, and autograd around them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from darkit_nb.functional.packed import pack_codes, packed_bytes
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


def scan_backward(
    grad_spikes: Tensor | None,
    grad_last: Tensor | None,
    x: Tensor,
    state: Tensor | None,
    decay: Tensor,
    threshold: Tensor,
    law: NeuronLaw,
    launcher: Launcher,
    *,
    wanted: tuple[bool, bool, bool],
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of `x` `[S, *N]`, and of membrane, decay and threshold as far as they are `wanted`.

    Args:
        grad_spikes: in the shape of `x`, or None for zero.
        grad_last: `[*N]`, or None for zero.
        x: what went into the forward.
        state: likewise, `[*N]` or None.
        decay: float32, 0-d or `[N]`.
        threshold: likewise.
        law: settings of the neuron.
        launcher: starts the kernel.
        wanted: whether the gradients of membrane, decay and threshold are.
    """
    (rows, v, decay, threshold), shape = _rows(x, state, decay, threshold), x.shape[1:]
    (steps, neurons), device = rows.shape, x.device
    grads = torch.zeros_like(rows) if grad_spikes is None else grad_spikes.to(x.dtype).reshape(rows.shape).contiguous()
    grad_last = None if grad_last is None else grad_last.float().reshape(-1).contiguous()
    vec, chunk, keep = _backward_shape(rows)
    grad_x = torch.empty_like(rows)
    grad_state = None if v is None or not wanted[0] else torch.empty(neurons, dtype=torch.float32, device=device)
    spread = tuple(value if value.dim() else None for value in (decay, threshold))
    packs = _packs(neurons, vec, rows, v, grads, grad_last, *spread)
    grid = _grid(neurons, packs)
    # A constant of all neurons gets one partial sum a block.
    partial = [
        torch.empty(neurons if value.dim() else grid[0], dtype=torch.float32, device=device) if learns else None
        for value, learns in zip((decay, threshold), wanted[1:], strict=True)
    ]
    marks = torch.empty(ceil_div(steps, chunk), neurons, dtype=torch.float32, device=device) if keep == 2 else None
    code, alpha = 0, 1.0
    if law.max_count is None:
        surrogate, alpha = resolve_surrogate(law.surrogate or DEFAULT_SURROGATE, law.alpha)
        code = surrogate.code
    defines = (
        *_settings(rows, law),
        *packs,
        ("DK_SURROGATE", code),
        ("DK_DETACH", int(law.detach_reset)),
        ("DK_CHUNK", chunk),
        ("DK_KEEP", keep),
        ("DK_LEARN", int(any(wanted[1:]))),
    )
    tensors = (grads, grad_last, rows, v, decay, threshold, marks, grad_x, grad_state, *partial)
    numbers = (steps, neurons, min(decay.dim(), 1), min(threshold.dim(), 1), float(law.max_count or 1), alpha)
    launcher.launch(Launch("neuron_scan_backward", "scan_backward", defines, grid, THREADS, (*tensors, *numbers)))
    sums = [
        None if found is None else found if value.dim() else found.sum()
        for found, value in zip(partial, (decay, threshold), strict=True)
    ]
    return grad_x.view(x.shape), None if grad_state is None else grad_state.view(shape), sums[0], sums[1]


def _rows(
    x: Tensor, state: Tensor | None, decay: Tensor, threshold: Tensor
) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """What kernels take: `[S, N]`, `[N]` float32 or None, and the constants, all contiguous."""
    rows = x.reshape(x.shape[0], -1).contiguous()
    v = None if state is None else state.float().reshape(-1).contiguous()
    return rows, v, decay.contiguous(), threshold.contiguous()


def scan(
    x: Tensor,
    state: Tensor | None,
    decay: Tensor,
    threshold: Tensor,
    law: NeuronLaw,
    spike_dtype: torch.dtype,
    packed: bool,
    launcher: Launcher,
) -> tuple[Tensor, Tensor]:
    """Spikes `[S, *N]` in `spike_dtype`, or as bits if `packed`, and the last membrane `[*N]`, without gradient."""
    # Rows of bits begin at a byte: only where every last axis does, the kernel packs.
    whole = packed and (x.dim() == 2 or x.shape[-1] % 8 == 0)
    emit = INPUT if spike_dtype == x.dtype else BITS if whole else BYTES
    spikes, last = scan_forward(*_rows(x, state, decay, threshold), law, launcher, emit)
    spikes, last = spikes.view(*x.shape[:-1], -1), last.view(x.shape[1:])
    return pack_codes(spikes, 1) if packed and not whole else spikes, last


class ScanKernel(torch.autograd.Function):
    """`x` `[S, *N]`, membrane `[*N]` or None, decay and threshold float32, 0-d or `[N]`; saves its inputs only."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        state: Tensor | None,
        decay: Tensor,
        threshold: Tensor,
        law: NeuronLaw,
        launcher: Launcher,
        spike_dtype: torch.dtype | None = None,
        packed: bool = False,
    ) -> tuple[Tensor, Tensor]:
        spike_dtype = spike_dtype or x.dtype
        spikes, last = scan(x, state, decay, threshold, law, spike_dtype, packed, launcher)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, state, decay, threshold)
        ctx.law, ctx.launcher = law, launcher
        if not spike_dtype.is_floating_point:
            ctx.mark_non_differentiable(spikes)
        return spikes, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor | None, grad_last: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        needs = ctx.needs_input_grad
        x, state, decay, threshold = ctx.saved_tensors
        grads = scan_backward(
            grad_spikes, grad_last, x, state, decay, threshold, ctx.law, ctx.launcher, wanted=needs[1:4]
        )
        return *(grad if need else None for grad, need in zip(grads, needs, strict=False)), *(None,) * 4
