"""Temporal neurons on the CPU: blocks of neurons that stay in the cache over all steps, nothing saved but the input.

Forward: in place, the membrane of a block never leaves the cache. Backward: the membranes of a block are computed again
and walked back by the recursion that autograd would record, here without a graph. With gv the gradient of the membrane
after step s, σ' the surrogate slope, and "spent" what the reset takes per spike (θ, or h when it is hard):

    gh = gv·(1, or 1 − spikes when hard) + σ'(h − θ)·(g_s − spent·gv)      then gx_s = gh and gv = β·gh

(the term with spent falls away when the reset is detached; integer firing has 1/θ inside its range for σ').
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from darkit_nb.functional.neuron import Reset
from darkit_nb.functional.surrogate import DEFAULT_SURROGATE, resolve_surrogate
from darkit_nb.ops._gif_blocked import BLOCK_ELEMENTS

SMALLEST = 1024
"""Neurons of a block at least: with very many steps, calls would cost more than leaving the cache."""
FORWARD_ELEMENTS = 4 * BLOCK_ELEMENTS
"""Inputs of a block of the forward and one thread: inputs pass by, and only the membranes have to stay in the cache."""


@dataclass(frozen=True)
class NeuronLaw:
    """The settings of a temporal neuron that are no tensors."""

    reset: Reset = "soft"
    max_count: int | None = None
    surrogate: str | None = None
    alpha: float | None = None
    detach_reset: bool = False


def neuron_blocks(steps: int, neurons: int, elements: int | None = None) -> Iterator[slice]:
    """Slices of neurons whose inputs over all steps fit the cache, or that have `elements` of them for each thread."""
    size = max(SMALLEST, (elements or BLOCK_ELEMENTS) * torch.get_num_threads() // steps)
    for start in range(0, neurons, size):
        yield slice(start, min(neurons, start + size))


def per_block(value: Tensor, block: slice) -> Tensor:
    """A 0-d constant as it is, a `[N]` one cut to the block."""
    return value if value.dim() == 0 else value[block]


def _charge(v: Tensor, current: Tensor, decay: Tensor, out: Tensor) -> Tensor:
    """β·v + x into `out`, which may be `v`; rounded after the product and after the sum, as in the definition."""
    # A decay of every neuron is no number, and a tensor that only stands for one (torch.export) has no value.
    if decay.dim() == 0 and type(decay) is Tensor and current.dtype == v.dtype:
        unit = _unit(v.dtype)
        if unit is not None:
            return torch.addcdiv(current, v, unit, value=float(decay), out=out)
    return torch.mul(v, decay, out=out).add_(current)


@cache
def _unit(dtype: torch.dtype) -> Tensor | None:
    """1, where x + β·v / 1 is one operation that rounds twice: the quotient keeps a compiler from fusing the others.

    None where this torch was built otherwise.
    """
    random = torch.Generator().manual_seed(0)
    x, v = torch.randn(2, 1023, generator=random, dtype=dtype, device="cpu").unbind(0)
    unit = torch.ones((), dtype=dtype, device="cpu")
    beta = float(torch.tensor(0.9, dtype=dtype, device="cpu"))
    return unit if torch.equal(torch.addcdiv(x, v, unit, value=beta), v * beta + x) else None


def _fire(h: Tensor, threshold: Tensor, law: NeuronLaw, out: Tensor) -> Tensor:
    if law.max_count is None:
        return torch.ge(h, threshold, out=out)
    return torch.div(h, threshold, out=out).clamp_(0, law.max_count).round_()


def _settle(h: Tensor, fired: Tensor, threshold: Tensor, law: NeuronLaw, out: Tensor) -> Tensor:
    """Membrane after the reset into `out`, which may be `h`; `fired` is used up unless `_keeps_fired`."""
    if _keeps_fired(law):
        return torch.addcmul(h, fired, threshold, value=-1.0, out=out)  # θ·1 and θ·0 are exact, so it rounds once
    if law.reset == "hard":
        return torch.mul(h, fired.neg_().add_(1.0), out=out)
    # Multiply, then subtract: one fused operation would round once and could move a later spike.
    return torch.sub(h, fired.mul_(threshold), out=out)


def _keeps_fired(law: NeuronLaw) -> bool:
    """Whether what fired outlives the reset, so that it may lie among the spikes."""
    return law.max_count is None and law.reset == "soft"


def _forward_block(
    x: Tensor, v: Tensor, spikes: Tensor, decay: Tensor, threshold: Tensor, law: NeuronLaw, *, at_rest: bool
) -> None:
    """Run `x` `[S, n]` into `spikes`; `v` `[n]` is the membrane, updated in place; `at_rest` it holds nothing yet."""
    direct = _keeps_fired(law) and spikes.dtype == v.dtype
    fired = spikes[0] if direct else torch.empty_like(v)
    for step, (current, out) in enumerate(zip(x.unbind(0), spikes.unbind(0), strict=True)):
        if at_rest and step == 0:
            torch.add(current, 0.0, out=v)  # β·0 + x, which makes of −0 what the definition does
        else:
            _charge(v, current, decay, v)
        fired = _fire(v, threshold, law, out if direct else fired)
        if not direct:
            compared = law.max_count is None  # which gives no NaN
            out.copy_(fired if compared or out.is_floating_point() else fired.nan_to_num(0.0))
        _settle(v, fired, threshold, law, v)


def _membranes(
    x: Tensor, state: Tensor | None, decay: Tensor, threshold: Tensor, law: NeuronLaw, *, constants: bool
) -> tuple[Tensor | None, Tensor]:
    """Membranes `[S, n]` before every step, where the gradients of constants need them, and before every reset."""
    charged = torch.empty(x.shape, dtype=decay.dtype)
    before = torch.empty_like(charged) if constants else None
    fired, v = torch.empty_like(charged[0]), torch.zeros_like(charged[0]) if state is None else state
    after = torch.empty_like(v)
    for step, (current, h) in enumerate(zip(x.unbind(0), charged.unbind(0), strict=True)):
        if before is not None:
            before[step] = v
        _charge(v, current, decay, h)
        v = _settle(h, _fire(h, threshold, law, fired), threshold, law, after)
    return before, charged


def _through_firing(g: Tensor, h: Tensor, threshold: Tensor, law: NeuronLaw) -> tuple[Tensor, Tensor | None]:
    """What the gradient `g` of the spikes gives to the membrane `h`; and h/θ of an integer-firing neuron."""
    if law.max_count is None:
        surrogate, alpha = resolve_surrogate(law.surrogate or DEFAULT_SURROGATE, law.alpha)
        return g.mul_(surrogate.derivative(h - threshold, alpha)), None
    level = h / threshold
    return g.mul_((level >= 0) & (level <= law.max_count)).div_(threshold), level


def _add_slope(gv: Tensor, g: Tensor, h: Tensor, threshold: Tensor, law: NeuronLaw, out: Tensor) -> None:
    """gv + σ'(h − θ)·g into `out` for the usual surrogate, arctan, as one quotient: a third of the operations."""
    alpha = resolve_surrogate(DEFAULT_SURROGATE, law.alpha)[1]
    z, one = h - threshold, torch.ones((), dtype=h.dtype)
    torch.addcdiv(gv, g, torch.addcmul(one, z, z, value=(0.5 * math.pi * alpha) ** 2, out=z), value=alpha / 2, out=out)


def _backward_block(
    x: Tensor,
    state: Tensor | None,
    decay: Tensor,
    threshold: Tensor,
    grad_spikes: Tensor,
    grad_state: Tensor,
    law: NeuronLaw,
    grad_x: Tensor,
    *,
    constants: bool,
) -> list[Tensor]:
    """Fill `grad_x` `[S, n]`; gradients of state, decay and threshold `[n]`, the last two zero unless asked for."""
    before, charged = _membranes(x, state, decay, threshold, law, constants=constants)
    gv, fired = grad_state.clone(), torch.empty_like(grad_state)
    grad_decay, grad_threshold = torch.zeros_like(gv), torch.zeros_like(gv)
    soft, usual = law.reset == "soft", law.max_count is None and law.surrogate in (None, DEFAULT_SURROGATE)
    quick = usual and soft and not constants and grad_x.dtype == gv.dtype
    for step in range(x.shape[0] - 1, -1, -1):
        h = charged[step]
        g = grad_spikes[step] if quick else grad_spikes[step].to(h.dtype, copy=True)
        if not law.detach_reset:
            g = torch.addcmul(g, gv, threshold, value=-1.0) if quick else g.sub_(gv * (threshold if soft else h))
        if quick:
            _add_slope(gv, g, h, threshold, law, grad_x[step])
            torch.mul(grad_x[step], decay, out=gv)
            continue
        if constants and soft:
            grad_threshold.addcmul_(_fire(h, threshold, law, fired), gv, value=-1.0)
        if not soft:
            gv.mul_(_fire(h, threshold, law, fired).neg_().add_(1.0))
        gz, level = _through_firing(g, h, threshold, law)
        gv.add_(gz)
        if before is not None:
            grad_threshold.sub_(gz if level is None else level.mul_(gz))
            grad_decay.addcmul_(gv, before[step])
        grad_x[step] = gv
        gv.mul_(decay)
    return [gv, grad_decay, grad_threshold]


class BlockedScan(torch.autograd.Function):
    """`x` `[S, N]`, membrane `[N]` or None, decay and threshold 0-d or `[N]`, all in the membrane's dtype but `x`."""

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
        spikes = torch.empty(x.shape, dtype=spike_dtype)
        v = torch.empty(x.shape[1:], dtype=decay.dtype) if state is None else state.clone()
        for block in neuron_blocks(x.shape[0], x.shape[1], FORWARD_ELEMENTS):
            constants = per_block(decay, block), per_block(threshold, block)
            _forward_block(x[:, block], v[block], spikes[:, block], *constants, law, at_rest=state is None)
        if not spike_dtype.is_floating_point:
            ctx.mark_non_differentiable(spikes)
        return spikes, v

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor, grad_state: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, state, decay, threshold = ctx.saved_tensors
        wanted = ctx.needs_input_grad[2] or ctx.needs_input_grad[3]
        grads = [torch.zeros_like(grad_state), torch.zeros_like(decay), torch.zeros_like(threshold)]
        grad_x = torch.empty_like(x, memory_format=torch.contiguous_format)
        for block in neuron_blocks(*x.shape):
            parts = x[:, block], None if state is None else state[block]
            beta, theta = per_block(decay, block), per_block(threshold, block)
            given, out = (grad_spikes[:, block], grad_state[block]), grad_x[:, block]
            found = _backward_block(*parts, beta, theta, *given, ctx.law, out, constants=wanted)
            for total, part in zip(grads, found, strict=True):
                if total.dim() == 0:
                    total.add_(part.sum())
                else:
                    total[block] = part
        return grad_x, None if state is None else grads[0], *grads[1:], None, None
