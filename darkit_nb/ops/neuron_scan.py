"""Temporal neurons, fast: the law of `functional/neuron.py` on the backend that suits the device."""

from __future__ import annotations

import torch
from torch import Tensor

from darkit_nb.functional import neuron as reference
from darkit_nb.functional.gif import compute_dtype
from darkit_nb.functional.neuron import Reset, check_neuron, resolve_spike_dtype
from darkit_nb.functional.packed import pack_codes
from darkit_nb.ops import _neuron_operators as operators
from darkit_nb.ops._cupy import CupyLauncher
from darkit_nb.ops._neuron_blocked import BlockedScan, NeuronLaw
from darkit_nb.ops._neuron_kernel import ScanKernel
from darkit_nb.ops._neuron_native import eager_scan
from darkit_nb.ops.backend import backend_name, exporting, wants_operators
from darkit_nb.records.spike_spec import Backend


def neuron_scan(
    x: Tensor,
    state: Tensor | None = None,
    *,
    decay: float | Tensor = 1.0,
    threshold: float | Tensor = 1.0,
    reset: Reset = "soft",
    max_count: int | None = None,
    surrogate: str | None = None,
    alpha: float | None = None,
    detach_reset: bool = False,
    spike_dtype: torch.dtype | None = None,
    packed: bool = False,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """`functional.neuron.neuron_scan` on the chosen backend, with a backward that saves the input only.

    Args:
        x: `[S, *N]` input currents, any float dtype.
        state: `[*N]` membrane left by an earlier call, or None to start at rest.
        decay: β in [0, 1], a number or a tensor broadcastable to `[*N]`.
        threshold: θ > 0, a number or a tensor broadcastable to `[*N]`.
        reset: soft or hard.
        max_count: D of an integer-firing neuron, None for a threshold neuron.
        surrogate: name in `functional.surrogate.SURROGATES`.
        alpha: its sharpness, None for the usual one.
        detach_reset: keep the gradient from flowing through the reset.
        spike_dtype: None for that of `x`, or torch.uint8 for inference, whose spikes carry no gradient.
        packed: spikes of threshold neurons as bits, uint8, ⌈N/8⌉ bytes in the place of the last axis; for inference.
        backend: implementation, see `resolve_backend`.

    Returns:
        Spikes `[S, *N]` in `spike_dtype`, or packed, and the membrane `[*N]` after the last step.

    Raises:
        ShapeError: the tensors do not fit together.
        ConfigError: a setting without meaning.
        BackendError: the backend cannot be had for this device.

    Numerics: spikes and membrane bit-equal to the reference; gradients to 1e-5 of their size, for sums run in another
        order.
    """
    check_neuron(x, state, decay, threshold, reset=reset, max_count=max_count, surrogate=surrogate, alpha=alpha)
    law = NeuronLaw(reset, max_count, surrogate, alpha, detach_reset)
    emitted = resolve_spike_dtype(x, max_count, spike_dtype, packed=packed)
    name = backend_name(backend, x.device.type)
    if name == "native" and exporting():
        name = "blocked"  # a graph for people and other programs shows the steps, not one operator of ours
    if name == "blocked" and torch.compiler.is_compiling() and not exporting():
        name = "reference"  # cache blocks do not fit a graph, and what is compiled is fused anyway
    # Kernels know no double: it serves gradient checks.
    if name == "reference" or x.numel() == 0 or (name in ("cupy", "native") and x.dtype == torch.float64):
        constants = {"decay": decay, "threshold": threshold, "reset": reset, "max_count": max_count}
        slope = {"surrogate": surrogate, "alpha": alpha, "detach_reset": detach_reset}
        return reference.neuron_scan(x, state, spike_dtype=spike_dtype, packed=packed, **constants, **slope)
    recorded = name in ("native", "cupy") and wants_operators()
    if name == "native" and not recorded:
        each = [_flat(value, x) if isinstance(value, Tensor) else value for value in (decay, threshold)]
        return eager_scan(x, state, each[0], each[1], law, emitted, packed)
    beta, theta = _flat(decay, x), _flat(threshold, x)
    if recorded:
        return operators.scan(x, state, beta, theta, law, emitted, packed)
    if name == "cupy":
        return ScanKernel.apply(x, state, beta, theta, law, CupyLauncher(), emitted, packed)
    rows, v = x.reshape(x.shape[0], -1), None if state is None else state.reshape(-1)
    spikes, v = BlockedScan.apply(rows, v, beta, theta, law, emitted)
    spikes = spikes.view(x.shape)
    return pack_codes(spikes, 1) if packed else spikes, v.view(x.shape[1:])


def _flat(value: float | Tensor, x: Tensor) -> Tensor:
    """A constant of the neurons of `x` as a 0-d tensor if all share it, else `[N]`; differentiable."""
    if not isinstance(value, Tensor):
        return _number(value, x)
    tensor = value.to(x.device, compute_dtype(x))
    if tensor.numel() == 1:
        return tensor.reshape(())
    return tensor.expand(x.shape[1:]).reshape(-1).contiguous()


def _number(value: float, x: Tensor) -> Tensor:
    """A number where `x` lies, written there: a copy from the CPU would wait, and cannot be captured in a CUDA graph.

    On a GPU it is made once, for it would cost a launch at every call; not while a graph is captured or recorded, to
    which it would belong.
    """
    if not x.is_cuda or wants_operators():
        return torch.full((), value, dtype=compute_dtype(x), device=x.device)
    key = (value, compute_dtype(x), x.device)
    made = _numbers.get(key)
    if made is None:
        with torch.inference_mode(False):  # what is made in there cannot be kept for a backward elsewhere
            made = torch.full((), value, dtype=key[1], device=key[2])
        if not torch.cuda.is_current_stream_capturing() and len(_numbers) < MOST_NUMBERS:
            torch.cuda.synchronize(x.device)  # other streams will read it too
            _numbers[key] = made
    return made


_numbers: dict[tuple[float, torch.dtype, torch.device], Tensor] = {}
MOST_NUMBERS = 256
"""Constants kept: a decay that changes at every call is made at every call."""
