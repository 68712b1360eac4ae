"""The spiking linear layer: tokens become spikes, spikes meet low-bit weights. Its definition in plain PyTorch.

    y = dequantise(gif_encode(x)) · dequantise(weight_encode(W))ᵀ + b

Because counts and weight codes are integers, the same value is one integer product per range group g,

    y = Σ_g scale_g · ((q_g − zero_g) Cᵀ) · weight_scaleᵀ + b,        q_g, C integer

(with a shared range scale_0 = r · scale_1 for an integer r, and the two integers are added before they are scaled; a
weight with group scales is the sum over its groups) and, because counts are sums of spikes, the sum over steps of
additions of weight rows gated by spikes.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from darkit_nb.functional.gif import gif_quantise
from darkit_nb.functional.spike_code import SpikeCode
from darkit_nb.functional.weight import QuantisedWeight, WeightCode, weight_quantise
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


def parts_of(weight: WeightCode | QuantisedWeight) -> tuple[tuple[Tensor | None, WeightCode], ...]:
    """Columns (None: all as they lie) and codes of every part of a weight."""
    return weight.parts if isinstance(weight, QuantisedWeight) else ((None, weight),)


@torch.no_grad()
def spike_product(
    code: SpikeCode, weight: WeightCode | QuantisedWeight, bias: Float[Tensor, " O"] | None = None
) -> Float[Tensor, "*B O"]:
    """The integer form: exact int64 products of counts and weight codes, scaled once at the end, `[*B, L, O]`.

    The zero point is subtracted only over the features of its own group. Parts and groups of the weight are added in
    their order.
    """
    y = torch.zeros((), dtype=code.scale.dtype, device=code.counts.device)
    for columns, part in parts_of(weight):
        chosen = torch.arange(part.codes.shape[1], device=code.counts.device) if columns is None else columns
        size = part.group_size or max(1, chosen.numel())
        for group, members in enumerate(chosen.split(size)):
            rows = part.codes[:, group * size : group * size + members.numel()].to(torch.int64)
            y = y + _scaled_sums(code, members, rows) * part.scale[:, group]
    return y if bias is None else y + bias


def _scaled_sums(code: SpikeCode, members: Tensor, rows: Tensor) -> Tensor:
    """Products of the features `members` with weight codes `[O, M]`, in units of the activations: `[*B, L, O]`."""
    salient = code.salient
    if salient is None:
        picks = [slice(None)]
    else:
        flags = salient.reshape(-1).expand(code.counts.shape[-1])[members]
        picks = [~flags, flags]
    sums = []
    for index, pick in enumerate(picks):
        counts = code.counts[..., members[pick]].to(torch.int64)
        zero = code.zero_point[..., index : index + 1]
        sums.append(_integer_product(counts, rows[:, pick].T) - zero * rows[:, pick].sum(-1))
    if code.scale_ratio is not None:
        # The two scales are an integer apart, so the sums are one integer: a single rounding.
        return (sums[0] * code.scale_ratio + sums[1]).to(code.scale.dtype) * code.scale[..., 1:2]
    scaled = [part.to(code.scale.dtype) * code.scale[..., index : index + 1] for index, part in enumerate(sums)]
    return scaled[0] if len(scaled) == 1 else scaled[0] + scaled[1]


def _integer_product(counts: Tensor, codes: Tensor) -> Tensor:
    """`counts @ codes` of int64. GPUs multiply no matrices of it: there in float64, exact while sums stay below 2⁵³."""
    if counts.device.type == "cpu":
        return counts @ codes
    return (counts.double() @ codes.double()).to(torch.int64)


@torch.no_grad()
def spike_product_by_steps(
    code: SpikeCode, weight: WeightCode | QuantisedWeight, bias: Float[Tensor, " O"] | None = None
) -> Float[Tensor, "*B O"]:
    """The simulated form: one product a spike step, spikes materialised, accumulated over steps. Slow; for proof."""
    value, dense = code.per_feature(code.scale), weight.dequantise()
    silent = code.per_feature(code.zero_point).to(value.dtype) * value
    y = -linear(silent.expand(code.counts.shape), dense)
    for worth, spikes in zip(code.plane_weights(), code.planes(), strict=True):
        y = y + worth * linear(spikes.to(value.dtype) * value, dense)
    return y if bias is None else y + bias
