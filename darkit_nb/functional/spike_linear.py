"""The spiking linear layer: tokens become spikes, spikes meet low-bit weights. Its definition in plain PyTorch.

    y = dequantise(gif_encode(x)) · dequantise(weight_encode(W))ᵀ + b

Because counts and weight codes are integers, the same value is one integer product per range group g,

    y = Σ_g scale_g · ((q_g − zero_g) Cᵀ) · weight_scaleᵀ + b,        q_g, C integer

and, because counts are sums of spikes, the sum over steps of additions of weight rows gated by spikes.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from darkit_nb.functional.gif import gif_quantise
from darkit_nb.functional.spike_code import SpikeCode
from darkit_nb.functional.weight import WeightCode, weight_quantise
from darkit_nb.records.spike_spec import SpikeSpec


def spike_linear(
    x: Tensor,
    weight: Float[Tensor, "O D"],
    bias: Float[Tensor, " O"] | None,
    spec: SpikeSpec,
    salient: Tensor | None = None,
) -> Float[Tensor, "*B O"]:
    """Encode `x` and multiply with quantised weights; differentiable straight through both.

    Args:
        x: `[*B, L, D]` activations.
        weight: `[O, D]` float master weights.
        bias: `[O]` or None.
        spec: how to encode activations and weights.
        salient: bool `[D]`, the features that get `spec.num_steps` steps.

    Returns:
        `[*B, L, O]`.
    """
    spikes = gif_quantise(x, salient=salient, gradient=spec.gradient, **neuron_settings(spec))
    return linear(spikes, weight_quantise(weight, spec.weight_bits), bias)


def neuron_settings(spec: SpikeSpec) -> dict:
    """The arguments of `gif_encode` that a spec fixes."""
    return {
        "num_levels": spec.num_levels,
        "num_steps": spec.num_steps,
        "coding": spec.coding,
        "ranges": spec.ranges,
        "signed": spec.signed,
    }


@torch.no_grad()
def spike_product(
    code: SpikeCode, weight: WeightCode, bias: Float[Tensor, " O"] | None = None
) -> Float[Tensor, "*B O"]:
    """The integer form: exact int64 products of counts and weight codes, scaled once at the end, `[*B, L, O]`.

    The zero point is subtracted only over the features of its own group.
    """
    features = weight.codes.shape[-1]
    salient = code.salient
    groups = (
        [torch.ones(features, dtype=torch.bool, device=weight.codes.device)]
        if salient is None
        else [~salient.expand(features), salient.expand(features)]
    )
    y = torch.zeros((), dtype=code.scale.dtype, device=code.counts.device)
    for index, members in enumerate(groups):
        rows = weight.codes[:, members].to(torch.int64)
        counts = code.counts[..., members].to(torch.int64)
        centred = counts @ rows.T - code.zero_point[..., index : index + 1] * rows.sum(-1)
        y = y + centred.to(code.scale.dtype) * code.scale[..., index : index + 1]
    y = y * weight.scale.T
    return y if bias is None else y + bias


@torch.no_grad()
def spike_product_by_steps(
    code: SpikeCode, weight: WeightCode, bias: Float[Tensor, " O"] | None = None
) -> Float[Tensor, "*B O"]:
    """The simulated form: one product a spike step, spikes materialised, accumulated over steps. Slow; for proof."""
    value, dense = code.per_feature(code.scale), weight.dequantise()
    silent = code.per_feature(code.zero_point).to(value.dtype) * value
    y = -linear(silent.expand(code.counts.shape), dense)
    for worth, spikes in zip(code.plane_weights(), code.planes(), strict=True):
        y = y + worth * linear(spikes.to(value.dtype) * value, dense)
    return y if bias is None else y + bias
