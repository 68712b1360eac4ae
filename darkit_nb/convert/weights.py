"""One door to every way of coding a weight: `quantise_weight` takes the weight, what the layer sees, and choices."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from darkit_nb.convert.clip import search_uniform
from darkit_nb.convert.gptq import check_features, gptq_codes, towards_float_stream
from darkit_nb.convert.grid import WeightGrid, feature_groups, uniform_grid
from darkit_nb.convert.hessian import Hessian
from darkit_nb.convert.lwc import LearnedClipping
from darkit_nb.convert.pb import pb_weight
from darkit_nb.convert.rounding import descend, swept_scales
from darkit_nb.convert.shaping import shaped_codes
from darkit_nb.convert.ternary import spike_weight
from darkit_nb.errors import DataError
from darkit_nb.functional.weight import QuantisedWeight
from darkit_nb.records.conversion_spec import ConversionSpec


def _need(hessian: Hessian | None, spec: ConversionSpec) -> Hessian:
    if hessian is None:
        raise DataError(
            "These weights cannot be coded without calibration.",
            expected=f"statistics of the layer's inputs, for weights={spec.weights!r}",
            received="hessian=None",
            fix="pass Hessian(gram), or use weights='rtn' without clip_search",
        )
    return hessian


def _grid(weight: Tensor, spec: ConversionSpec, hessian: Hessian | None, group: Tensor) -> WeightGrid:
    if spec.weights == "lwc":
        return LearnedClipping(weight, spec.weight_bits, spec.group_size).grid(weight)
    if not spec.clip_search:
        return uniform_grid(weight, spec.weight_bits, group)
    known = _need(hessian, spec)
    check_features(weight, known)
    # What compensates decides what a miss costs: nothing after rounding, the other features after GPTQ.
    importance = 1 / known.inverse_diagonal if spec.weights == "gptq" else known.diagonal
    return search_uniform(weight, spec.weight_bits, group, importance.to(weight.dtype))


def _compensated(hessian: Hessian, spec: ConversionSpec, weight: Tensor, grid: WeightGrid) -> tuple[WeightGrid, Tensor]:
    """The grid and the codes of a GPTQ sweep, and of what is done once more around it."""
    if spec.scale_sweep:
        grid, codes = swept_scales(weight, hessian, grid)
    else:
        codes = gptq_codes(weight, hessian, grid)
    return grid, descend(weight, hessian, grid, codes, spec.code_passes) if spec.code_passes else codes


@torch.no_grad()
def quantise_weight(
    weight: Tensor,
    spec: ConversionSpec,
    *,
    hessian: Hessian | None = None,
    cross: Tensor | None = None,
    missing: Tensor | None = None,
    grid: WeightGrid | None = None,
    salient: Tensor | None = None,
    felt: Sequence[Tensor] | None = None,
) -> QuantisedWeight:
    """Code a weight as `spec.weights` says.

    Args:
        weight: `[O, D]` float, after scaling and rotation.
        spec: the method and its settings.
        hessian: mean of x̂ x̂ᵀ over tokens, x̂ what the layer gets: the quantised stream, spikes included. Needed by
            everything but plain rounding; one for all layers that read the same input.
        cross: `[D, D]`, mean of x x̂ᵀ with x of the float model; where given, the weight is first moved towards what
            the float stream would have given (`gptq.towards_float_stream`).
        missing: `[O, D]`, mean of (h − ĥ) x̂ᵀ with h the residual stream this layer's outputs are added to; used with
            `cross` where the layer also makes good what the stream lacks.
        grid: scales and ranges found elsewhere, by learned clipping; None finds them here.
        salient: bool `[D]`, the features that get scales of their own with `spec.salient_scale`.
        felt: G of the outputs, matrices down its diagonal (`sensitivity.layer_sensitivity`): where given, GPTQ's
            errors are shaped by it; other ways of coding take no notice.

    Returns:
        Integer codes with scales.

    Raises:
        DataError: no calibration where some is needed, statistics that are not finite, a singular Hessian.
    """
    if cross is not None:
        known = _need(hessian, spec)
        check_features(weight, known)
        weight = towards_float_stream(weight, known, cross, missing=missing, damping=spec.target_damping)
    if spec.weights == "pb_llm":
        return pb_weight(weight, _need(hessian, spec), fraction=spec.weight_salient_fraction)
    if spec.weights in ("ternary", "trit_planes"):
        return spike_weight(
            weight,
            _need(hessian, spec),
            steps=spec.weight_steps,
            fraction=spec.weight_salient_fraction,
            planes=spec.weights == "trit_planes",
        )
    apart = spec.salient_scale and salient is not None and bool(salient.any()) and not bool(salient.all())
    if apart and salient is not None:
        group = salient.to(torch.int64)
    else:
        group = feature_groups(weight.shape[1], spec.group_size, weight.device)
    grid = grid if grid is not None else _grid(weight, spec, hessian, group)
    if spec.weights == "gptq":
        code = partial(_compensated, _need(hessian, spec), spec)
        grid, codes = code(weight, grid) if felt is None else shaped_codes(weight, grid, felt, code)
    else:
        codes = grid.codes(weight)
    columns = [torch.nonzero(group == part)[:, 0] for part in (0, 1)] if apart else [None]
    parts = tuple((one, grid.code(codes, spec.weight_bits, one)) for one in columns)
    return QuantisedWeight(parts, (weight.shape[0], weight.shape[1]))
