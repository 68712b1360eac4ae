"""The temporal multi-step neuron: its definition in plain PyTorch. Covers IF, LIF, PLIF and integer-firing LIF.

Membrane v, input x_s, decay β in [0, 1] per step, threshold θ > 0, steps s = 0 … S−1:

    h_s = β·v_{s−1} + x_s
    spikes_s = Θ(h_s − θ)                          a threshold neuron, Θ inclusive
    spikes_s = round(clamp(h_s / θ, 0, D))         an integer-firing neuron of at most D spikes a step
    v_s = h_s − θ·spikes_s                         soft reset
    v_s = h_s·(1 − spikes_s)                       hard reset (threshold neurons)

IF is β = 1, LIF a constant β < 1, PLIF learns β and θ, I-LIF is the integer-firing form. The membrane is float32 for
every input dtype (float64 for float64) and passes from call to call as a value.

Axes: `S` steps first, then `*N` any neuron axes.

Source: Fang et al. 2021 (PLIF, arXiv 2007.05785); Luo et al. 2024 (I-LIF, SpikeYOLO, arXiv 2407.20708).
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from darkit_nb.errors import ConfigError, ShapeError
from darkit_nb.functional.gif import compute_dtype
from darkit_nb.functional.packed import pack_codes
from darkit_nb.functional.rounding import round_ste
from darkit_nb.functional.surrogate import DEFAULT_SURROGATE, heaviside, resolve_surrogate

Reset = Literal["soft", "hard"]


def neuron_scan(
    x: Shaped[Tensor, "*SN"],
    state: Tensor | None = None,
    *,
    decay: float | Tensor = 1.0,
    threshold: float | Tensor = 1.0,
    reset: Reset | str = "soft",
    max_count: int | None = None,
    surrogate: str | None = None,
    alpha: float | None = None,
    detach_reset: bool = False,
    spike_dtype: torch.dtype | None = None,
    packed: bool = False,
) -> tuple[Shaped[Tensor, "..."], Float[Tensor, "*N"]]:
    """Run the neurons over all steps of `x`.

    Args:
        x: `[S, *N]` input currents, any float dtype.
        state: `[*N]` membrane left by an earlier call, in the dtype of `initial_state`; None starts at rest, 0.
        decay: β, what the membrane keeps per step, in [0, 1]; a number, or a tensor broadcastable to `[*N]`, which
            may require gradients.
        threshold: θ > 0 in units of the membrane; a number or a tensor likewise.
        reset: soft subtracts what fired, hard returns the membrane to 0.
        max_count: D of an integer-firing neuron; None makes a threshold neuron, which fires 0 or 1.
        surrogate: name in `SURROGATES` for a threshold neuron, default arctan. An integer-firing neuron passes the
            gradient straight through where 0 ≤ h/θ ≤ D.
        alpha: sharpness of the surrogate, None for its usual one.
        detach_reset: keep the gradient from flowing through the spike into the reset.
        spike_dtype: dtype of the spikes, None for that of `x`. torch.uint8 is for inference: such spikes carry no
            gradient, and a NaN is 0 there.
        packed: hand the spikes of threshold neurons out as bits, `pack_codes(spikes, 1)` of `functional.packed`: eight
            neighbours of the last axis a byte, the first one lowest. For inference, as uint8.

    Returns:
        Spikes `[S, *N]` in `spike_dtype`, or packed with ⌈N/8⌉ bytes in the place of the last axis; and the membrane
        `[*N]` after the last step.

    Raises:
        ShapeError: `x`, `state`, `decay` or `threshold` do not fit together.
        ConfigError: a setting without meaning.
    """
    check_neuron(x, state, decay, threshold, reset=reset, max_count=max_count, surrogate=surrogate, alpha=alpha)
    emitted = resolve_spike_dtype(x, max_count, spike_dtype, packed=packed)
    v = initial_state(x.shape[1:], like=x) if state is None else state
    beta, theta = (torch.as_tensor(value, dtype=v.dtype, device=v.device) for value in (decay, threshold))
    spikes: list[Tensor] = []
    # unbind, not x[s]: the backward of indexing writes a full [S, *N] gradient per step.
    for current in x.to(v.dtype).unbind(0):
        h = beta * v + current
        if max_count is None:
            fired = heaviside(h - theta, surrogate or DEFAULT_SURROGATE, alpha)
        else:
            fired = round_ste((h / theta).clamp(0, max_count))
        spent = fired.detach() if detach_reset else fired
        v = h - theta * spent if reset == "soft" else h * (1 - spent)
        spikes.append(fired.to(emitted) if emitted.is_floating_point else fired.detach().nan_to_num(0.0).to(emitted))
    found = torch.stack(spikes)
    return pack_codes(found, 1) if packed else found, v


def initial_state(shape: torch.Size | tuple[int, ...], *, like: Tensor) -> Tensor:
    """A membrane at rest, `[*N]`: zeros in float32 (float64 where `like` is), on the device of `like`."""
    return torch.zeros(shape, dtype=compute_dtype(like), device=like.device)


def resolve_spike_dtype(
    x: Tensor, max_count: int | None, spike_dtype: torch.dtype | None, *, packed: bool = False
) -> torch.dtype:
    """Dtype in which the spikes of `x` are emitted.

    Raises:
        ConfigError: neither the dtype of `x` nor uint8, counts that uint8 or, `packed`, a bit does not hold, or no axis
            to pack along.
    """
    if packed:
        if max_count is None and spike_dtype in (None, torch.uint8) and x.dim() > 1:
            return torch.uint8
        raise ConfigError(
            "Spikes cannot be packed into bits here.",
            expected="threshold neurons, currents [S, *N] with an axis of neurons, and spike_dtype=None",
            received=f"max_count={max_count}, currents {list(x.shape)}, spike_dtype={spike_dtype}",
        )
    if spike_dtype in (None, x.dtype):
        return x.dtype
    if spike_dtype == torch.uint8 and (max_count or 1) <= 255:
        return torch.uint8
    raise ConfigError(
        "Spikes cannot be emitted in this dtype.",
        expected=f"{x.dtype} or, for counts up to 255, torch.uint8",
        received=f"{spike_dtype}, counts up to {max_count or 1}",
    )


def check_neuron(
    x: Tensor,
    state: Tensor | None,
    decay: float | Tensor,
    threshold: float | Tensor,
    *,
    reset: str,
    max_count: int | None,
    surrogate: str | None,
    alpha: float | None,
) -> None:
    """Refuse what no backend can run.

    Raises:
        ShapeError: shapes or dtypes do not fit.
        ConfigError: a setting without meaning.
    """
    if not x.is_floating_point() or x.dim() == 0 or x.shape[0] == 0:
        raise ShapeError(
            "A neuron integrates floating-point currents over at least one step.",
            expected="a float32, float16, bfloat16 or float64 tensor [S, *N] with S ≥ 1",
            received=f"{x.dtype} {list(x.shape)}",
            fix="put the steps first; a single step is x.unsqueeze(0)",
        )
    if state is not None and (state.shape != x.shape[1:] or state.dtype != compute_dtype(x)):
        raise ShapeError(
            "The carried membrane does not belong to these neurons.",
            expected=f"{compute_dtype(x)} {list(x.shape[1:])}",
            received=f"{state.dtype} {list(state.shape)}",
            cause="the batch changed, or the membrane was cast to the input's dtype",
            fix="pass the state the last call returned, or None to start at rest",
        )
    for name, value, low, high in (("decay", decay, 0.0, 1.0), ("threshold", threshold, 1e-30, 1e30)):
        _check_parameter(name, value, low, high, x)
    if reset not in ("soft", "hard"):
        raise ConfigError("Unknown reset.", expected="'soft' or 'hard'", received=repr(reset))
    if max_count is None:
        resolve_surrogate(surrogate or DEFAULT_SURROGATE, alpha)
    else:
        _check_integer_firing(max_count, reset, surrogate)


def _check_parameter(name: str, value: float | Tensor, low: float, high: float, x: Tensor) -> None:
    """A number must lie in its range; a tensor, whose values may be on another device, must fit in shape."""
    if isinstance(value, Tensor):
        try:
            fits = torch.broadcast_shapes(value.shape, x.shape[1:]) == x.shape[1:]
        except RuntimeError:
            fits = False
        if not fits:
            raise ShapeError(
                f"The {name} does not belong to these neurons.",
                expected=f"a number or a tensor broadcastable to {list(x.shape[1:])}",
                received=str(list(value.shape)),
            )
    elif not low <= value <= high:
        expected = "0 ≤ decay ≤ 1" if name == "decay" else "a finite threshold > 0"
        raise ConfigError(f"The {name} is out of range.", expected=expected, received=repr(value))


def _check_integer_firing(max_count: int, reset: str, surrogate: str | None) -> None:
    if not 1 <= max_count <= 256:
        raise ConfigError("max_count is out of range.", expected="1 ≤ max_count ≤ 256", received=repr(max_count))
    if reset == "hard":
        raise ConfigError(
            "An integer-firing neuron has no hard reset.",
            expected="reset='soft' with max_count",
            received="reset='hard'",
            cause="its count says how much charge to subtract; a hard reset would throw the rest away",
        )
    if surrogate not in (None, "straight_through"):
        raise ConfigError(
            "An integer-firing neuron has one gradient only, straight through within its range.",
            expected="surrogate=None",
            received=repr(surrogate),
        )
