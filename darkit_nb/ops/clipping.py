"""A linear layer behind a weight with learned scales, mixing and clipping: forward and backward by rows of the weight.

The definition (`functional/clipping.py`) passes over the whole weight some forty times a step and keeps what autograd
wants of every pass. Here a block of outputs is coded, multiplied and forgotten, and in the backward coded once more
beside its gradient in closed form: nothing of the size of the weight is kept.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from darkit_nb.functional import clipping as reference
from darkit_nb.functional.clipping import scaled_weight
from darkit_nb.ops import _clipping_blocked as blocked
from darkit_nb.ops import _clipping_native as native
from darkit_nb.ops._clipping_blocked import Clipped
from darkit_nb.ops.backend import backend_name, wants_operators
from darkit_nb.ops.kronecker import kronecker_mix
from darkit_nb.records.spike_spec import Backend

BLOCK = 2**20
"""Weights coded at once: 4 MB, with a gradient of that size beside them."""
LEAST_OUTPUTS = 64
"""With fewer outputs at once products get slow."""


def clipped_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    upper: Tensor,
    lower: Tensor,
    *,
    bits: int,
    group_size: int | None = None,
    reads: Tensor | None = None,
    writes: Tensor | None = None,
    mixing: tuple[Tensor, Tensor] | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """`functional.clipping.clipped_linear`, by blocks of outputs and with closed gradients; arguments as there.

    Args:
        x: `[*B, D]`.
        weight: `[O, D]`.
        bias: `[O]` or None.
        upper: a `[O, G]`.
        lower: b `[O, G]`.
        bits: 2 … 8.
        group_size: neighbouring features that share a range; None is all of them.
        reads: s `[D]` or None.
        writes: r `[O]` or None.
        mixing: A and B of `functional.kronecker.kronecker_mix`, or None.
        backend: auto takes the C++ library on the CPU where it was built, else PyTorch by blocks; reference is the
            definition, which also computes what is not float32.

    Raises:
        BackendError: the backend cannot be had for this device.

    Numerics: values of weights bit-equal to the definition's; outputs and gradients agree to the rounding of float32.
    """
    tensors = (x, weight, bias, upper, lower)
    hand = _hand_for(x, weight, backend)
    if hand is None:
        scales = {"reads": reads, "writes": writes, "mixing": mixing}
        return reference.clipped_linear(*tensors, bits=bits, group_size=group_size, **scales)
    settings = (bits, group_size or weight.shape[1], hand)
    rows = x.reshape(-1, x.shape[-1])
    if mixing is None:
        y = _ClippedLinear.apply(rows, *tensors[1:], reads, writes, *settings)
    else:
        y = _mixed_linear(rows, *tensors[1:], reads, writes, mixing, settings)
    return y.view(*x.shape[:-1], len(weight))


def _hand_for(x: Tensor, weight: Tensor, backend: Backend) -> ModuleType | None:
    """Who codes a weight; None is the definition."""
    plain = not (x.dtype == weight.dtype == torch.float32) or weight.numel() == 0 or wants_operators()
    name = backend_name(backend, x.device.type)
    if backend == "reference" or plain:
        return None
    return native if name == "native" else blocked


def _blocks(weight: Tensor) -> list[slice]:
    """Outputs that are taken at once."""
    outputs, features = weight.shape
    each = max(LEAST_OUTPUTS, BLOCK // features)
    return [slice(begin, min(begin + each, outputs)) for begin in range(0, outputs, each)]


def _part(value: Tensor | None, rows: slice) -> Tensor | None:
    return None if value is None else value[rows]


def _mixed_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    upper: Tensor,
    lower: Tensor,
    reads: Tensor | None,
    writes: Tensor | None,
    mixing: tuple[Tensor, Tensor],
    settings: tuple[int, int, ModuleType],
) -> Tensor:
    """Blocks of outputs, scaled and mixed as autograd sees it; where there are several, once more for the backward."""

    def run(rows: slice) -> Tensor:
        mixed = kronecker_mix(scaled_weight(weight[rows], reads, _part(writes, rows)), *mixing)
        return _ClippedLinear.apply(x, mixed, _part(bias, rows), upper[rows], lower[rows], None, None, *settings)

    blocks = _blocks(weight)
    if len(blocks) == 1:
        return run(blocks[0])
    parts = [checkpoint(run, rows, use_reentrant=False, preserve_rng_state=False) for rows in blocks]
    return torch.cat(parts, -1)


class _ClippedLinear(torch.autograd.Function):
    """Keeps the tokens, and two numbers a group of weights."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        upper: Tensor,
        lower: Tensor,
        reads: Tensor | None,
        writes: Tensor | None,
        bits: int,
        group: int,
        hand: ModuleType,
    ) -> Tensor:
        lower, upper = lower.sigmoid(), upper.sigmoid()
        y, found = x.new_empty(len(x), len(weight)), []
        for rows in _blocks(weight):
            source = Clipped(weight[rows], reads, _part(writes, rows), lower[rows], upper[rows], bits, group)
            values, ends = hand.encode(source)
            found.append(ends)
            if bias is None:
                torch.mm(x, values.t(), out=y[:, rows])
            else:
                torch.addmm(bias[rows], x, values.t(), out=y[:, rows])
        ctx.save_for_backward(x, weight, reads, writes, lower, upper, *found)
        ctx.settings = bits, group, hand
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight, reads, writes, lower, upper, *ends = ctx.saved_tensors
        bits, group, hand = ctx.settings
        of_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        of_weight = torch.empty_like(weight) if ctx.needs_input_grad[1] else None
        of_lower, of_upper = torch.empty_like(lower), torch.empty_like(upper)
        of_reads = None if reads is None else torch.zeros_like(reads)
        of_writes = None if writes is None else torch.empty_like(writes)
        for rows, known in zip(_blocks(weight), ends, strict=True):
            source = Clipped(weight[rows], reads, _part(writes, rows), lower[rows], upper[rows], bits, group)
            given = grad[:, rows]
            found = hand.differentiate(source, known, given.t() @ x)
            of_lower[rows], of_upper[rows] = found.lower, found.upper
            if of_x is not None:
                torch.addmm(of_x, given, found.values, beta=float(rows.start > 0), out=of_x)
            if of_weight is not None:
                of_weight[rows] = scaled_weight(found.scaled, reads, source.writes)
            if of_reads is not None:
                of_reads += found.reads
            if of_writes is not None:
                of_writes[rows] = found.writes
        of_lower *= lower * (1 - lower)
        of_upper *= upper * (1 - upper)
        of_bias = grad.sum(0) if ctx.needs_input_grad[2] else None
        return of_x, of_weight, of_bias, of_upper, of_lower, of_reads, of_writes, None, None, None
