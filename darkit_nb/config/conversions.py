"""The pipelines of conversion by name. A preset only fills the fields of a `ConversionSpec`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from darkit_nb.errors import ConfigError
from darkit_nb.records.conversion import ADDITIVE, ConversionSpec
from darkit_nb.records.spike_spec import SpikeSpec

PRESETS: dict[str, str] = {
    "rtn": "Round to nearest, nothing else: the floor.",
    "smoothquant": "SmoothQuant: outliers of the activations move into the weights by a closed form, then round.",
    "omniquant": "OmniQuant: scales and clipping learned block by block, 20 epochs.",
    "gptq": "GPTQ: weights coded column by column, each error made good by the columns still to come.",
    "pb-llm": "PB-LLM: one bit a weight, the most salient weights 8 bits. Activations in float.",
    "spikellm-omniquant": "SpikeLLM as published: OmniQuant with two spike steps for the salient tenth of features.",
    "spikellm-gptq": "SpikeLLM's additive weights: ternary spikes, more steps for salient features; float activations.",
    "quarot": "QuaRot: outliers spread by a Hadamard rotation, then GPTQ with a clip search.",
    "flatquant": "A transform learned per layer (FlatQuant's idea), then round with learned clipping.",
    "darkit": "A split rotation whose strongest directions get two radix steps and weight scales of their own, then "
    "GPTQ with a clip search, aimed at the float stream and shaped by what predictions feel, scales and codes searched "
    "once more.",
}
"""Every preset with what it does, in the order from plain to best."""

BITS: tuple[str, ...] = ("W4A4", "W4A8", "W2A8", "W2A16", "W6A6", "W4A16", "ternary")
"""Widths offered by forms; any `W<2…8>A<1…8 or 16>` is understood."""

_GPTQ: dict[str, Any] = {"weights": "gptq", "act_order": True, "clip_search": True}

_FIELDS: dict[str, dict[str, Any]] = {
    "rtn": {},
    "smoothquant": {"scaling": "smooth"},
    "omniquant": {"scaling": "let", "weights": "lwc", "refine_epochs": 20},
    "gptq": {"weights": "gptq", "act_order": True},
    "pb-llm": {"weights": "pb_llm", "weight_salient_fraction": 0.1, "act_order": True},
    "spikellm-omniquant": {"scaling": "let", "scaling_alpha": 0.75, "weights": "lwc", "refine_epochs": 20},
    "spikellm-gptq": {"weights": "ternary", "weight_steps": 2, "weight_salient_fraction": 0.4, "act_order": True},
    "quarot": {"rotation": "hadamard", "online_rotation": True, **_GPTQ},
    "flatquant": {"rotation": "learned", "weights": "lwc", "refine_epochs": 15},
    # Features in their own order: behind a split the salient ones come first already, and within a part activity is
    # alike; ordering by it changed nothing (divergence from the float model 0.0101 against 0.0100 bits per byte).
    "darkit": {
        "rotation": "split",
        "online_rotation": True,
        "salient_scale": True,
        "float_target": True,
        "residual_target": True,
        "hidden_clip": True,
        "norm_clip": True,
        "shaped_rounding": True,
        **_GPTQ,
        "act_order": False,
        "scale_sweep": True,
        "code_passes": 1,
        "damping": 0.05,
    },
}

_SPIKES: dict[str, dict[str, Any]] = {
    "spikellm-omniquant": {"num_steps": 2, "salient_fraction": 0.1, "saliency": "energy"},
    "darkit": {"num_steps": 2, "salient_fraction": 0.125, "coding": "radix", "ranges": "own"},
}
"""What spikes in a preset; in the others every feature gets one step."""

_USUAL_BITS = {"pb-llm": "ternary", "spikellm-gptq": "ternary"}


def conversion_preset(
    name: str, *, bits: str | None = None, paper_codes: bool = False, **changes: Any
) -> ConversionSpec:
    """The `ConversionSpec` of a pipeline.

    Args:
        name: one of `PRESETS`.
        bits: `W4A4` and the like (A16: float), or `ternary`: weights are spikes, activations float. None takes the
            preset's own: ternary for `pb-llm` and `spikellm-gptq`, W4A4 for the others.
        paper_codes: code activations as the published quantiser does, whose top codes the steps cannot carry.
        changes: fields of `ConversionSpec` to replace. `spike` may be a mapping of fields of `SpikeSpec`, laid over
            the preset's own.

    Raises:
        ConfigError: no such preset, bits or field, or a combination that has no meaning.
    """
    if name not in PRESETS:
        close = get_close_matches(str(name), PRESETS, 1)
        raise ConfigError(
            f"There is no conversion preset {name!r}.",
            expected=", ".join(PRESETS),
            received=repr(name),
            fix=f"did you mean {close[0]!r}?" if close else None,
        )
    bits = bits or _USUAL_BITS.get(name, "W4A4")
    fields: dict[str, Any] = {"pipeline": name, **_FIELDS[name]}
    weight_bits, activation_bits = _parse(bits)
    if bits == "ternary":
        fields |= _ternary(name)
    elif fields.get("weights") not in ADDITIVE:
        fields["weight_bits"] = weight_bits
    spike = _spike(name, activation_bits, paper_codes, changes.pop("spike", "preset"))
    if spike is None and fields.get("rotation") == "split":
        fields["rotation"] = "hadamard"  # without spikes no direction gets more steps
    if changes.get("group_size") is not None:
        fields.pop("salient_scale", None)  # groups of neighbours have scales of their own already
    return ConversionSpec.from_dict({**fields, "spike": spike, **changes})


def _parse(bits: str) -> tuple[int, int]:
    if bits == "ternary":
        return 2, 16
    match = re.fullmatch(r"W([2-8])A([1-8]|16)", bits) if isinstance(bits, str) else None
    if match is None:
        raise ConfigError(
            "These bits are not understood.",
            expected=", ".join(BITS),
            received=repr(bits),
            fix="write weight bits and activation bits, as in 'W4A4'; A16 leaves activations in float",
        )
    return int(match[1]), int(match[2])


def _ternary(name: str) -> dict[str, Any]:
    """Additive weights in the manner of a pipeline: two steps for salient features where it knows any."""
    if _FIELDS[name].get("weights") in ADDITIVE:
        return {"weight_bits": 2}
    common = {"weight_bits": 2, "act_order": True, "clip_search": False, "refine_epochs": 0}
    if _FIELDS[name].get("rotation") == "learned" or _FIELDS[name].get("scaling") == "let":
        raise ConfigError(
            f"The preset {name!r} has no additive form.",
            expected="bits with a number of weight bits, as in 'W2A16'",
            received="bits='ternary'",
            fix="use preset('spikellm-gptq') or preset('darkit', bits='ternary')",
        )
    if name == "darkit":
        common["salient_scale"] = False  # spiking weights have scales by their own steps
        return {**common, "weights": "trit_planes", "weight_steps": 2, "weight_salient_fraction": 0.4}
    return {**common, "weights": "ternary"}


def _spike(name: str, bits: int, paper_codes: bool, given: Any) -> SpikeSpec | None:
    if given is None or isinstance(given, SpikeSpec):
        return given
    if bits == 16 and given == "preset":
        return None
    fields = {"num_steps": 1, "salient_fraction": 0.0, **_SPIKES.get(name, {}), "num_levels": 2 ** min(bits, 8)}
    if paper_codes:
        fields["coding"] = "paper"
    laid_over = given if isinstance(given, Mapping) else {}
    return SpikeSpec.from_dict({**SpikeSpec().to_dict(), **fields, **laid_over})


preset = conversion_preset
"""The same, short where the module names what it is a preset of."""


def bits_of(spec: ConversionSpec) -> str:
    """The bits of a conversion as a preset takes them: `W4A4`, `W2A16`, or `ternary` for additive weights alone."""
    if spec.weights in ADDITIVE and spec.spike is None:
        return "ternary"
    levels = 16 if spec.spike is None else round(math.log2(spec.spike.num_levels))
    return f"W{spec.weight_bits}A{levels}"


_SAME: tuple[str, ...] = ("group_size", "samples", "sample_length", "seed", "rotation_seed")
_SAME_SPIKES: tuple[str, ...] = ("attention", "include", "exclude")


def alternative(spec: ConversionSpec, pipeline: str) -> ConversionSpec:
    """What another preset would do of the same: at the same bits, on the same calibration text, with the same layers.

    Args:
        spec: a conversion, made by a preset or not.
        pipeline: name of the other preset.

    Raises:
        ConfigError: there is no such preset, or it does not exist at these bits.
    """
    changes: dict[str, Any] = {name: getattr(spec, name) for name in _SAME}
    if spec.spike is not None:
        changes["spike"] = {name: getattr(spec.spike, name) for name in _SAME_SPIKES}
    return conversion_preset(pipeline, bits=bits_of(spec), **changes)
