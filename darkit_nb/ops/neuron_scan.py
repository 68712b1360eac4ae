"""Temporal neurons, fast: the law of `functional/neuron.py` on the backend that suits the device."""

from __future__ import annotations

import torch
from torch import Tensor

from darkit_nb.functional import neuron as reference
from darkit_nb.functional.neuron import Reset, check_neuron, initial_state
from darkit_nb.ops._cupy import CupyLauncher
from darkit_nb.ops._neuron_blocked import BlockedScan, NeuronLaw
from darkit_nb.ops._neuron_kernel import ScanKernel
from darkit_nb.ops.backend import resolve_backend
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
        backend: implementation, see `resolve_backend`.

    Returns:
        Spikes `[S, *N]` in the dtype of `x`, and the membrane `[*N]` after the last step.

    Raises:
        ShapeError: the tensors do not fit together.
        ConfigError: a setting without meaning.
        BackendError: the backend cannot be had for this device.

    Numerics: spikes and membrane bit-equal to the reference; gradients to 1e-5 of their size, for sums run in another
        order.
    """
    check_neuron(x, state, decay, threshold, reset=reset, max_count=max_count, surrogate=surrogate, alpha=alpha)
    law = NeuronLaw(reset, max_count, surrogate, alpha, detach_reset)
    name = resolve_backend(backend, x.device).name
    # Kernels know no double: it serves gradient checks.
    if name == "reference" or x.numel() == 0 or (name == "cupy" and x.dtype == torch.float64):
        return reference.neuron_scan(x, state, decay=decay, threshold=threshold, **vars(law))
    shape = x.shape[1:]
    v = initial_state(shape, like=x) if state is None else state
    beta, theta = (_flat(value, shape, like=v) for value in (decay, threshold))
    flat = x.reshape(x.shape[0], -1), v.reshape(-1), beta, theta
    if name == "cupy":
        spikes, v = ScanKernel.apply(*flat, law, CupyLauncher())
    else:
        spikes, v = BlockedScan.apply(*flat, law)
    return spikes.view(x.shape), v.view(shape)


def _flat(value: float | Tensor, shape: torch.Size, *, like: Tensor) -> Tensor:
    """A constant of the neurons as a 0-d tensor if all share it, else `[N]`; differentiable."""
    tensor = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    return tensor.reshape(()) if tensor.numel() == 1 else tensor.expand(shape).reshape(-1)
