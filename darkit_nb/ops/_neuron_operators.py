"""Temporal neurons as operators of `torch.library`: what torch.compile writes into a graph, on a CPU and on a GPU.

One schema a function, and one kernel that knows shapes only; behind it the C++ library for CPU tensors and the CUDA
kernels for others. Eager calls go past them: an autograd function costs half of what an operator does.

Axes: `x [S, *N]`, membrane `[*N]` or None at rest; decay and threshold float32, 0-d or flat `[N]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from darkit_nb.functional.packed import packed_bytes
from darkit_nb.ops import _neuron_kernel as kernel
from darkit_nb.ops import _neuron_native as native
from darkit_nb.ops._cupy import CupyLauncher
from darkit_nb.ops._neuron_blocked import NeuronLaw

_LAW = "str reset, int? max_count, str? surrogate, float? alpha, bool detach_reset"
_INPUTS = "Tensor x, Tensor? state, Tensor decay, Tensor threshold"


def _law(settings: Sequence[Any]) -> NeuronLaw:
    return NeuronLaw(settings[0], settings[1], settings[2], settings[3], settings[4])


@torch.library.custom_op(
    "darkit::neuron_scan",
    mutates_args=(),
    device_types="cpu",
    schema=f"({_INPUTS}, {_LAW}, ScalarType spike_dtype, bool packed) -> (Tensor, Tensor)",
)
def _scan_op(x: Any, state: Any, decay: Any, threshold: Any, *settings: Any) -> tuple[Tensor, Tensor]:
    spike_dtype, packed = settings[-2:]
    return native.scan(x, state, decay, threshold, _law(settings), spike_dtype, packed)


@_scan_op.register_kernel("cuda")
def _scan_cuda(x: Any, state: Any, decay: Any, threshold: Any, *settings: Any) -> tuple[Tensor, Tensor]:
    spike_dtype, packed = settings[-2:]
    return kernel.scan(x, state, decay, threshold, _law(settings), spike_dtype, packed, CupyLauncher())


@_scan_op.register_fake
def _(x: Any, state: Any, decay: Any, threshold: Any, *settings: Any) -> tuple[Tensor, Tensor]:
    shape = (*x.shape[:-1], packed_bytes(x.shape[-1], 1)) if settings[-1] else x.shape
    return x.new_empty(shape, dtype=settings[-2]), x.new_empty(x.shape[1:], dtype=torch.float32)


@torch.library.custom_op(
    "darkit::neuron_scan_backward",
    mutates_args=(),
    device_types="cpu",
    schema=f"(Tensor? grad_spikes, Tensor? grad_last, {_INPUTS}, {_LAW}, bool constants) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
)
def _scan_backward_op(
    grad_spikes: Any, grad_last: Any, x: Any, state: Any, decay: Any, threshold: Any, *settings: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    law, learns = _law(settings), bool(settings[-1])
    grads = native.scan_backward(grad_spikes, grad_last, x, state, decay, threshold, law, constants=learns)
    return _whole(grads, x, state, decay, threshold)


@_scan_backward_op.register_kernel("cuda")
def _scan_backward_cuda(
    grad_spikes: Any, grad_last: Any, x: Any, state: Any, decay: Any, threshold: Any, *settings: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    law, learns = _law(settings), bool(settings[-1])
    grads = kernel.scan_backward(
        grad_spikes, grad_last, x, state, decay, threshold, law, CupyLauncher(), wanted=(True, learns, learns)
    )
    return _whole(grads, x, state, decay, threshold)


def _whole(
    grads: native.Gradients, x: Tensor, state: Tensor | None, decay: Tensor, threshold: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """An operator returns tensors always, and none that shares memory with another."""
    grad_state = x.new_empty(0, dtype=torch.float32) if state is None or grads[1] is None else grads[1]
    found = [
        torch.zeros_like(value) if grad is None else grad.clone()
        for grad, value in zip(grads[2:], (decay, threshold), strict=True)
    ]
    return grads[0], grad_state, found[0], found[1]


@_scan_backward_op.register_fake
def _(
    grad_spikes: Any, grad_last: Any, x: Any, state: Any, decay: Any, threshold: Any, *settings: Any
) -> tuple[Tensor, ...]:
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
    nothing = (None,) * (len(ctx.law) + 2)
    return *(grad if need else None for grad, need in zip(grads, ctx.needs_input_grad, strict=False)), *nothing


_scan_op.register_autograd(_differentiate, setup_context=_keep)


def scan(
    x: Tensor,
    state: Tensor | None,
    decay: Tensor,
    threshold: Tensor,
    law: NeuronLaw,
    spike_dtype: torch.dtype,
    packed: bool,
) -> tuple[Tensor, Tensor]:
    """`ops.neuron_scan.neuron_scan` as one operator with its backward; constants float32, 0-d or `[N]`."""
    settings = (law.reset, law.max_count, law.surrogate, law.alpha, law.detach_reset)
    return torch.ops.darkit.neuron_scan(x, state, decay, threshold, *settings, spike_dtype, packed)
