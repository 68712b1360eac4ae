"""The spiking linear layer, fast: encode, multiply, and keep only small integers for the backward.

Numerics: spikes equal those of `functional.spike_linear` bit for bit; outputs and gradients agree to the rounding of
the matrix product's dtype (float32, or that of autocast).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from darkit_nb.functional import spike_linear as reference
from darkit_nb.functional.gif import check_gif_input
from darkit_nb.functional.weight import weight_quantise
from darkit_nb.ops._gif_blocked import GifLaw
from darkit_nb.ops._training_native import Forward, decode, fits, forward
from darkit_nb.ops.backend import backend_name, exporting
from darkit_nb.ops.gif import clip_gradient, decode_centred, encode_centred, gif_quantise
from darkit_nb.records.spike_spec import SpikeSpec


class _SpikeLinear(torch.autograd.Function):
    """Saves centred counts (one byte each while they fit), the scales and the quantised weight."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, matrix: Tensor, bias: Tensor | None, salient: Tensor | None, spec: SpikeSpec
    ) -> Tensor:
        values, centred, scale, clamped = encode_centred(
            x, salient=salient, backend=spec.backend, **reference.neuron_settings(spec)
        )
        product = product_dtype(x)
        matrix = matrix.to(product)
        ctx.save_for_backward(centred, scale, clamped, salient, matrix)
        ctx.x_dtype, ctx.spec = x.dtype, spec
        with torch.autocast(x.device.type, enabled=False):
            return linear(values.to(product), matrix, None if bias is None else bias.to(product))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        centred, scale, clamped, salient, matrix = ctx.saved_tensors
        need_x, need_matrix, need_bias = ctx.needs_input_grad[:3]
        grad_x = grad_matrix = None
        if need_x:
            grad_x = clip_gradient((grad @ matrix).to(ctx.x_dtype), clamped)
        if need_matrix:
            values = decode_centred(centred, scale, salient=salient, **reference.neuron_settings(ctx.spec))
            grad_matrix = grad.t() @ values.to(grad.dtype)
        return grad_x, grad_matrix, grad.sum(0) if need_bias else None, None, None


class _WholeSpikeLinear(torch.autograd.Function):
    """The same with the weight quantised on the way: one call forward, an exact product, and float32 throughout.

    Saves what `_SpikeLinear` saves, and which weights were clamped where one was.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, salient: Tensor | None, found: Forward
    ) -> Tensor:
        ctx.save_for_backward(found.centred, found.scale, found.clamped, salient, found.values)
        ctx.clamped_weight = found.clamped_weight
        return found.y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        centred, scale, clamped, salient, matrix = ctx.saved_tensors
        need_x, need_weight, need_bias = ctx.needs_input_grad[:3]
        grad_x = clip_gradient(grad @ matrix, clamped) if need_x else None
        grad_weight = None
        if need_weight:
            grad_weight = clip_gradient(grad.t() @ decode(centred, scale, salient), ctx.clamped_weight)
        return grad_x, grad_weight, grad.sum(0) if need_bias else None, None, None


def _in_one_call(
    x: Tensor, weight: Tensor, bias: Tensor | None, salient: Tensor | None, spec: SpikeSpec
) -> Tensor | None:
    """The output by the library's single call, or None where it cannot be had."""
    watched = torch.compiler.is_compiling() or is_in_torch_dispatch_mode()
    if watched or spec.gradient == "range" or not x.is_cpu or backend_name(spec.backend, "cpu") != "native":
        return None
    law = GifLaw(**reference.neuron_settings(spec))
    if product_dtype(x) != torch.float32 or not fits(x, weight, spec.weight_bits, law, salient):
        return None
    found = forward(x, weight, bias, spec.weight_bits, law, salient)
    return None if found is None else _WholeSpikeLinear.apply(x, weight, bias, salient, found)


def product_dtype(x: Tensor) -> torch.dtype:
    """What a linear layer gives for `x`: its dtype, or that of autocast where it is on."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def spike_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, spec: SpikeSpec, salient: Tensor | None = None
) -> Tensor:
    """`functional.spike_linear.spike_linear` on the backend of `spec`.

    Args:
        x: `[*B, L, D]` activations.
        weight: `[O, D]` float master weights.
        bias: `[O]` or None.
        spec: how to encode activations and weights.
        salient: bool `[D]`, the features that get `spec.num_steps` steps.

    Returns:
        `[*B, L, O]`, in the dtype of `x`, or of autocast where that is on.

    Raises:
        ShapeError: `x` is no float tensor with as many features as the weight, or the mask does not fit.
        BackendError: the backend of `spec` cannot be had for this device.
    """
    check_gif_input(x, salient)
    rows = x.reshape(-1, x.shape[-1])
    if x.is_meta and not exporting():
        return linear(x, weight, bias)  # shapes only: the product is all there is to know
    if x.dtype == torch.float64 or exporting():
        return reference.spike_linear(x, weight, bias, spec, salient)
    exact = _in_one_call(rows, weight, bias, salient, spec)
    if exact is not None:
        return exact.view(*x.shape[:-1], -1)
    matrix = weight_quantise(weight, spec.weight_bits)
    if spec.gradient == "range":
        settings = reference.neuron_settings(spec)
        y = linear(
            gif_quantise(rows, salient=salient, gradient="range", backend=spec.backend, **settings), matrix, bias
        )
    else:
        y = _SpikeLinear.apply(rows, matrix, bias, salient, spec)
    return y.view(*x.shape[:-1], -1)
