"""Host side of `kernels/cpu/neuron_scan.cpp`: outputs, arguments, and autograd.

Where no gradient is recorded, eager calls go past autograd too.

Axes: `x [S, *N]`, membrane `[*N]` or None at rest; decay and threshold a number, or float32, 0-d or flat `[N]`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from darkit_nb.functional.packed import pack_codes, packed_bytes
from darkit_nb.functional.surrogate import DEFAULT_SURROGATE, resolve_surrogate
from darkit_nb.ops._native import BITS, MOST_THREADS, STREAMED_BYTES, TYPES, Record, address, empty
from darkit_nb.ops._neuron_blocked import NeuronLaw

Constant = float | Tensor
Gradients = tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]
"""Of input, membrane, decay and threshold; those of the constants None where they are not asked for."""

_SCAN = "PqqPPPffqqqf"
_forward = Record("dk_scan_forward", _SCAN + "PqPq")
_backward = Record("dk_scan_backward", _SCAN + "PPPPPPPqqfq")


def _contiguous(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.contiguous()


def _steps(x: Tensor) -> tuple[Tensor, int]:
    """`x` with every step contiguous, and how many elements its steps are apart."""
    if x.is_contiguous():
        return x, x.numel() // x.shape[0]
    rows = x.reshape(x.shape[0], -1)
    rows = rows if rows.stride(1) == 1 or rows.shape[1] == 1 else rows.contiguous()
    return rows, rows.stride(0)


def _scan(
    x: Tensor, stride: int, state: Tensor | None, decay: Constant, threshold: Constant, law: NeuronLaw
) -> tuple[Any, ...]:
    """`struct Scan` of the source."""
    fields: list[Any] = [x.data_ptr(), TYPES[x.dtype], stride, address(state)]
    each = [value.data_ptr() if isinstance(value, Tensor) and value.dim() else 0 for value in (decay, threshold)]
    one = [0.0 if pointer else float(value) for pointer, value in zip(each, (decay, threshold), strict=True)]
    fire = 2 if law.max_count is not None else int(law.reset == "hard")
    return *fields, *each, *one, x.shape[0], x.numel() // x.shape[0], fire, float(law.max_count or 1)


def scan(
    x: Tensor,
    state: Tensor | None,
    decay: Constant,
    threshold: Constant,
    law: NeuronLaw,
    spike_dtype: torch.dtype,
    packed: bool = False,
) -> tuple[Tensor, Tensor]:
    """Spikes `[S, *N]` in `spike_dtype`, or as bits if `packed`, and the last membrane `[*N]`."""
    if packed and x.dim() > 2 and x.shape[-1] % 8:  # rows that share bytes in the kernel's one row of neurons
        spikes, last = scan(x, state, decay, threshold, law, spike_dtype)
        return pack_codes(spikes, 1), last
    rows, stride = _steps(x)
    state = _contiguous(state)
    shape = (*x.shape[:-1], packed_bytes(x.shape[-1], 1)) if packed else x.shape
    spikes, last = empty(shape, spike_dtype), empty(x.shape[1:], torch.float32)
    kind = BITS if packed else TYPES[spike_dtype]
    outputs = (spikes.data_ptr(), kind, last.data_ptr(), int(spikes.nbytes >= STREAMED_BYTES))
    _forward(*_scan(rows, stride, state, decay, threshold, law), *outputs)
    return spikes, last


def scan_backward(
    grad_spikes: Tensor | None,
    grad_last: Tensor | None,
    x: Tensor,
    state: Tensor | None,
    decay: Constant,
    threshold: Constant,
    law: NeuronLaw,
    *,
    constants: bool,
) -> Gradients:
    """Gradients of the inputs, that of the membrane only where there was one; `constants` asks for the last two."""
    rows, stride = _steps(x)
    state, grad_last = _contiguous(state), _contiguous(grad_last)
    grad_spikes = None if grad_spikes is None else grad_spikes.to(x.dtype).contiguous()
    grad_x, grad_state = empty(x.shape, x.dtype), None if state is None else empty(state.shape, state.dtype)
    each = [
        torch.empty_like(value) if constants and isinstance(value, Tensor) and value.dim() else None
        for value in (decay, threshold)
    ]
    sums = torch.zeros(MOST_THREADS, 2, dtype=torch.float64, device="cpu") if constants else None
    surrogate, alpha = resolve_surrogate(law.surrogate or DEFAULT_SURROGATE, law.alpha)
    tensors = (address(grad_spikes), address(grad_last), address(grad_x), address(grad_state), *map(address, each))
    settings = (address(sums), int(law.detach_reset), int(grad_x.nbytes >= STREAMED_BYTES), alpha, surrogate.code)
    if _backward(*_scan(rows, stride, state, decay, threshold, law), *tensors, *settings):
        raise MemoryError("no memory for the membranes of a block of neurons")
    if sums is None:
        return grad_x, grad_state, None, None
    found = [
        part if part is not None else total.to(torch.float32)
        for part, total in zip(each, sums.sum(0).unbind(), strict=True)
    ]
    return grad_x, grad_state, found[0], found[1]


class NativeScan(torch.autograd.Function):
    """Saves its inputs only."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        state: Tensor | None,
        decay: Constant,
        threshold: Constant,
        law: NeuronLaw,
        spike_dtype: torch.dtype,
        packed: bool,
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x, state, *(value if isinstance(value, Tensor) else None for value in (decay, threshold)))
        ctx.law = law
        ctx.numbers = tuple(None if isinstance(value, Tensor) else value for value in (decay, threshold))
        ctx.set_materialize_grads(False)
        spikes, last = scan(x, state, decay, threshold, law, spike_dtype, packed)
        if not spike_dtype.is_floating_point:
            ctx.mark_non_differentiable(spikes)
        return spikes, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor | None, grad_last: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        needs = ctx.needs_input_grad
        x, state, *saved = ctx.saved_tensors
        decay, threshold = (kept if number is None else number for kept, number in zip(saved, ctx.numbers, strict=True))
        wanted = needs[2] or needs[3]
        grads = scan_backward(grad_spikes, grad_last, x, state, decay, threshold, ctx.law, constants=wanted)
        return *(grad if need else None for grad, need in zip(grads, needs, strict=False)), None, None, None


def eager_scan(
    x: Tensor,
    state: Tensor | None,
    decay: Constant,
    threshold: Constant,
    law: NeuronLaw,
    spike_dtype: torch.dtype,
    packed: bool,
) -> tuple[Tensor, Tensor]:
    """`NativeScan` where a gradient is recorded, else `scan` alone."""
    inputs = (x, state, decay, threshold)
    if torch.is_grad_enabled() and any(isinstance(value, Tensor) and value.requires_grad for value in inputs):
        return NativeScan.apply(*inputs, law, spike_dtype, packed)
    return scan(x, state, decay, threshold, law, spike_dtype, packed)
