"""One door to every way of coding a weight: `quantise_weight` takes the weight, what the layer sees, and choices."""

from __future__ import annotations

import torch
from torch import Tensor

from darkit_nb.convert.clip import search_uniform
from darkit_nb.convert.gptq import activation_order, gptq_codes, towards_float_stream
from darkit_nb.convert.grid import WeightGrid, feature_groups, uniform_grid
from darkit_nb.convert.pb import pb_weight
from darkit_nb.convert.ternary import inverse_diagonal, spike_weight
from darkit_nb.errors import DataError
from darkit_nb.functional.weight import QuantisedWeight
from darkit_nb.records.conversion_spec import ConversionSpec


def _need(gram: Tensor | None, spec: ConversionSpec) -> Tensor:
    if gram is None:
        raise DataError(
            "These weights cannot be coded without calibration.",
            expected=f"the Gram matrix of the layer's inputs, for weights={spec.weights!r}",
            received="gram=None",
            fix="pass gram, or use weights='rtn' without clip_search",
        )
    return gram


def _grid(weight: Tensor, spec: ConversionSpec, gram: Tensor | None) -> WeightGrid:
    group = feature_groups(weight.shape[1], spec.group_size, weight.device)
    if not spec.clip_search:
        return uniform_grid(weight, spec.weight_bits, group)
    known = _need(gram, spec)
    # What compensates decides what a miss costs: nothing after rounding, the other features after GPTQ.
    importance = 1 / inverse_diagonal(known, spec.damping) if spec.weights == "gptq" else known.diagonal()
    return search_uniform(weight, spec.weight_bits, group, importance.to(weight.dtype).clamp(min=0.0))


@torch.no_grad()
def quantise_weight(
    weight: Tensor, spec: ConversionSpec, *, gram: Tensor | None = None, cross: Tensor | None = None
) -> QuantisedWeight:
    """Code a weight as `spec.weights` says.

    Args:
        weight: `[O, D]` float, after scaling and rotation.
        spec: the method and its settings.
        gram: `[D, D]`, mean of x̂ x̂ᵀ over tokens, x̂ what the layer gets: the quantised stream, spikes included. Needed
            by everything but plain rounding.
        cross: `[D, D]`, mean of x x̂ᵀ with x of the float model; where given, the weight is first moved towards what
            the float stream would have given (`gptq.towards_float_stream`).

    Returns:
        Integer codes with scales.

    Raises:
        DataError: no calibration where some is needed, statistics that are not finite, a singular Hessian.
    """
    if spec.weights == "pb_llm":
        return pb_weight(
            weight, _need(gram, spec), fraction=spec.weight_salient_fraction, damping=spec.damping,
            act_order=spec.act_order,
        )  # fmt: skip
    if spec.weights in ("ternary", "trit_planes"):
        return spike_weight(
            weight, _need(gram, spec), steps=spec.weight_steps, fraction=spec.weight_salient_fraction,
            planes=spec.weights == "trit_planes", damping=spec.damping, act_order=spec.act_order,
        )  # fmt: skip
    if cross is not None:
        weight = towards_float_stream(weight, _need(gram, spec), cross, damping=spec.damping)
    grid = _grid(weight, spec, gram)
    if spec.weights == "gptq":
        known = _need(gram, spec)
        order = activation_order(known) if spec.act_order else None
        codes = gptq_codes(weight, known, grid, damping=spec.damping, order=order)
    else:
        codes = grid.codes(weight)
    return QuantisedWeight(((None, grid.code(codes, spec.weight_bits)),), (weight.shape[0], weight.shape[1]))
