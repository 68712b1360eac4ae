"""Host side of `kernels/cpu/neuron_scan.cpp`: outputs, arguments, autograd, and the operators torch.compile sees.

Eager calls go through an autograd function, which costs half of what an operator of `torch.library` does; while
compiling it is the operator, with a kernel that knows shapes only.

Axes: `x [S, N]`, membrane `[N]` or None at rest, decay and threshold float32, 0-d or `[N]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from darkit_nb.functional.surrogate import DEFAULT_SURROGATE, resolve_surrogate
from darkit_nb.ops._native import MOST_THREADS, TYPES, call, empty, rows_of
from darkit_nb.ops._neuron_blocked import NeuronLaw

Gradients = tuple[Tensor, Tensor | None, Tensor, Tensor]
"""Of input, membrane, decay and threshold; those of the constants 0 where they are not asked for."""


def _fire(law: NeuronLaw) -> tuple[int, float]:
    """`enum Fire` of the source, and the largest count."""
    return (2, float(law.max_count)) if law.max_count is not None else (int(law.reset == "hard"), 1.0)


def _constant(value: Tensor) -> tuple[Tensor, int]:
    return value.contiguous(), min(value.dim(), 1)


def _contiguous(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.contiguous()


def scan(
    x: Tensor, state: Tensor | None, decay: Tensor, threshold: Tensor, law: NeuronLaw, spike_dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Spikes `[S, N]` in `spike_dtype` and the last membrane `[N]`."""
    x, state = rows_of(x), _contiguous(state)
    spikes, last = empty(x.shape, spike_dtype), empty(x.shape[1:], torch.float32)
    inputs = (x, TYPES[x.dtype], x.stride(0), state, *_constant(decay), *_constant(threshold))
    outputs = (spikes, TYPES[spike_dtype], last)
    call("dk_scan_forward", "piippipipipiiif", *inputs, *outputs, *x.shape, *_fire(law))
    return spikes, last


def scan_backward(
    grad_spikes: Tensor | None,
    grad_last: Tensor | None,
    x: Tensor,
    state: Tensor | None,
    decay: Tensor,
    threshold: Tensor,
    law: NeuronLaw,
    *,
    constants: bool,
) -> Gradients:
    """Gradients of the inputs, that of the membrane only where there was one; `constants` asks for the last two."""
    x, state = rows_of(x), _contiguous(state)
    grads = (None if grad_spikes is None else grad_spikes.to(x.dtype).contiguous(), _contiguous(grad_last))
    grad_x, grad_state = empty(x.shape, x.dtype), None if state is None else empty(state.shape, state.dtype)
    wanted = [torch.empty_like(value) if constants and value.dim() else None for value in (decay, threshold)]
    sums = torch.zeros(MOST_THREADS, 2, dtype=torch.float64) if constants else None
    surrogate, alpha = resolve_surrogate(law.surrogate or DEFAULT_SURROGATE, law.alpha)
    inputs = (*grads, x, TYPES[x.dtype], x.stride(0), state, *_constant(decay), *_constant(threshold))
    settings = (*x.shape, *_fire(law), surrogate.code, alpha, int(law.detach_reset))
    if call("dk_scan_backward", "pppiippipipppppiiififi", *inputs, grad_x, grad_state, *wanted, sums, *settings):
        raise MemoryError("no memory for the membranes of a block of neurons")
    totals = torch.zeros(2, dtype=torch.float64) if sums is None else sums.sum(0)
    found = [
        part if part is not None else total.to(value.dtype).expand(value.shape)
        for part, total, value in zip(wanted, totals, (decay, threshold), strict=True)
    ]
    return grad_x, grad_state, found[0], found[1]


class NativeScan(torch.autograd.Function):
    """Saves its inputs only."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        state: Tensor | None,
        decay: Tensor,
        threshold: Tensor,
        law: NeuronLaw,
        spike_dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x, state, decay, threshold)
        ctx.law = law
        ctx.set_materialize_grads(False)
        spikes, last = scan(x, state, decay, threshold, law, spike_dtype)
        if not spike_dtype.is_floating_point:
            ctx.mark_non_differentiable(spikes)
        return spikes, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor | None, grad_last: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        wanted = ctx.needs_input_grad[2] or ctx.needs_input_grad[3]
        x, state, decay, threshold = ctx.saved_tensors
        grads = scan_backward(grad_spikes, grad_last, x, state, decay, threshold, ctx.law, constants=wanted)
        return *(grad if need else None for grad, need in zip(grads, ctx.needs_input_grad, strict=False)), None, None


_LAW = "str reset, int? max_count, str? surrogate, float? alpha, bool detach_reset"


def _law(settings: Sequence[Any]) -> NeuronLaw:
    return NeuronLaw(settings[0], settings[1], settings[2], settings[3], settings[4])


_INPUTS = "Tensor x, Tensor? state, Tensor decay, Tensor threshold"


@torch.library.custom_op(
    "darkit::neuron_scan", mutates_args=(), schema=f"({_INPUTS}, {_LAW}, ScalarType spike_dtype) -> (Tensor, Tensor)"
)
def _scan_op(x: Any, state: Any, decay: Any, threshold: Any, *settings: Any) -> tuple[Tensor, Tensor]:
    return scan(x, state, decay, threshold, _law(settings), settings[-1])


@_scan_op.register_fake
def _(x: Any, state: Any, decay: Any, threshold: Any, *settings: Any) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape, dtype=settings[-1]), x.new_empty(x.shape[1:], dtype=torch.float32)


@torch.library.custom_op(
    "darkit::neuron_scan_backward",
    mutates_args=(),
    schema=f"(Tensor? grad_spikes, Tensor? grad_last, {_INPUTS}, {_LAW}, bool constants) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
)
def _scan_backward_op(*arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    grad_spikes, grad_last, x, state, decay, threshold, *settings = arguments
    grads = scan_backward(
        grad_spikes, grad_last, x, state, decay, threshold, _law(settings), constants=bool(settings[-1])
    )
    grad_state = x.new_empty(0, dtype=torch.float32) if grads[1] is None else grads[1]
    # An operator returns neither None nor views.
    return grads[0], grad_state, grads[2].reshape(decay.shape).clone(), grads[3].reshape(threshold.shape).clone()


@_scan_backward_op.register_fake
def _(grad_spikes: Any, grad_last: Any, x: Any, state: Any, decay: Any, threshold: Any, *settings: Any) -> Gradients:
    state_like = x.new_empty(x.shape[1:] if state is not None else 0, dtype=torch.float32)
    return x.new_empty(x.shape), state_like, torch.empty_like(decay), torch.empty_like(threshold)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.law = inputs[4:9]
    ctx.set_materialize_grads(False)
    if not output[0].is_floating_point():
        ctx.mark_non_differentiable(output[0])


def _differentiate(ctx: Any, grad_spikes: Tensor | None, grad_last: Tensor | None) -> tuple[Any, ...]:
    wanted = ctx.needs_input_grad[2] or ctx.needs_input_grad[3]
    grads = torch.ops.darkit.neuron_scan_backward(grad_spikes, grad_last, *ctx.saved_tensors, *ctx.law, wanted)
    nothing = (None,) * (len(ctx.law) + 1)
    return *(grad if need else None for grad, need in zip(grads, ctx.needs_input_grad, strict=False)), *nothing


_scan_op.register_autograd(_differentiate, setup_context=_keep)


def compiled_scan(
    x: Tensor, state: Tensor | None, decay: Tensor, threshold: Tensor, law: NeuronLaw, spike_dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """`NativeScan` as one operator of the graph that torch.compile records."""
    settings = (law.reset, law.max_count, law.surrogate, law.alpha, law.detach_reset)
    return torch.ops.darkit.neuron_scan(x, state, decay, threshold, *settings, spike_dtype)
