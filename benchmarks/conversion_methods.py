"""What is compared in the accuracy table: every preset, and the controls that tell where a gain comes from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from darkit_nb.config.conversions import preset
from darkit_nb.records.conversion import ConversionSpec

SMOOTH_ROTATED: dict[str, Any] = {"scaling": "smooth"}
TENTH = {"num_steps": 2, "salient_fraction": 0.1}
OWN_RANGE = {"num_steps": 1, "ranges": "own"}
NO_SPIKES = {"num_steps": 1, "salient_fraction": 0.0}
WHOLE: dict[str, Any] = {
    "rotation": "hadamard",
    "salient_scale": False,
    "spike": {**NO_SPIKES, "coding": "rate", "ranges": "shared"},
}
"""`darkit` with one range for all features: what its weights gain without its subspace and its steps."""


@dataclass(frozen=True)
class Method:
    """One row label of the table.

    Attributes:
        name: as shown.
        spec: the conversion without its seeds.
        judged_as: how activations are computed when it is scored: `spikes` as converted; `int8` plain integers of 8
            bits in the salient features and 4 in the others; `tokens` one more bit for the tenth of tokens with the
            widest range in place of features.
        group: presets, controls or weights.
    """

    name: str
    spec: ConversionSpec
    judged_as: str = "spikes"
    group: str = "presets"

    @property
    def rotates(self) -> bool:
        """Whether the seed of the rotation matters."""
        return self.spec.rotation != "none"

    def seeded(self, seed: int, rotation_seed: int, samples: int, sample_length: int) -> ConversionSpec:
        """The conversion that is run."""
        return self.spec.replace(seed=seed, rotation_seed=rotation_seed, samples=samples, sample_length=sample_length)


def _preset(pipeline: str, bits: str, **changes: Any) -> Method:
    spec = preset(pipeline, bits=bits, **changes)
    return Method(spec.name, spec)


def _control(name: str, pipeline: str, judged_as: str = "spikes", bits: str = "W4A4", **changes: Any) -> Method:
    return Method(name, preset(pipeline, bits=bits, **changes), judged_as, "controls")


def changed(spec: ConversionSpec) -> str:
    """Digest of the fields that differ from their defaults: a new field with a default keeps the rows there are."""
    plain, usual = spec.to_dict(), ConversionSpec().to_dict()
    spike, usual_spike = plain.pop("spike"), usual.pop("spike")
    own = {name: value for name, value in plain.items() if value != usual[name] and name != "pipeline"}
    own["spike"] = spike and {name: value for name, value in spike.items() if value != usual_spike[name]}
    return sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:12]


def headline() -> list[Method]:
    """Every preset at W4A4, the cheap ones first."""
    names = ("rtn", "smoothquant", "gptq", "quarot", "darkit", "spikellm-omniquant", "omniquant", "flatquant")
    return [_preset(name, "W4A4") for name in names]


def controls() -> list[Method]:
    """Where a gain comes from, at W4A4."""
    radix = {"num_steps": 2, "salient_fraction": 0.125, "coding": "radix", "ranges": "own", "saliency": "random"}
    return [
        _control("smooth + rotation + GPTQ + clip, no spikes", "quarot", scaling="smooth"),
        _control("the same at A5", "quarot", bits="W4A5", scaling="smooth"),
        _control(
            "the same, random features radix T=2", "quarot", scaling="smooth", spike={**radix, "saliency": "random"}
        ),
        _control("the same, widest tokens at A5", "quarot", "tokens", scaling="smooth"),
        _control("darkit, plain INT8 on the subspace", "darkit", "int8"),
        _control("darkit, rate T=2", "darkit", spike={"coding": "rate"}),
        _control("darkit, no subspace, no spikes", "darkit", **WHOLE),
        _control("the same weights at A5", "darkit", bits="W4A5", **WHOLE),
        _control("rtn + shared range T=2 (SpikeLLM's spikes)", "rtn", spike={**TENTH, "saliency": "energy"}),
        _control("rtn + shared range T=2, random features", "rtn", spike={**TENTH, "saliency": "random"}),
        _control("rtn + own range, no extra step", "rtn", spike={**TENTH, "num_steps": 1, "ranges": "own"}),
        _control("rtn + own range T=2", "rtn", spike={**TENTH, "ranges": "own"}),
        _control("spikellm-omniquant, random features", "spikellm-omniquant", spike={"saliency": "random"}),
        _control("the same trained, own range, no extra step", "spikellm-omniquant", spike=OWN_RANGE),
        _control("the same trained, no spikes", "spikellm-omniquant", spike=NO_SPIKES),
        _control("the same trained, widest tokens at A5", "spikellm-omniquant", "tokens", spike=NO_SPIKES),
    ]


def weights() -> list[Method]:
    """Float activations: two bits, and weights that are spikes."""
    two = [_preset(name, "W2A16") for name in ("rtn", "gptq", "quarot", "darkit", "omniquant")]
    ternary = [
        ("PB-LLM, 5 % at 8 bits", "pb-llm", {"weight_salient_fraction": 0.05}),
        ("PB-LLM, 10 % at 8 bits", "pb-llm", {}),
        ("PB-LLM, 20 % at 8 bits", "pb-llm", {"weight_salient_fraction": 0.2}),
        ("ternary, T=1", "spikellm-gptq", {"weight_steps": 1, "weight_salient_fraction": 0.0}),
        ("ternary, T=2 on 40 %", "spikellm-gptq", {}),
        ("ternary, T=3 on 20 %", "spikellm-gptq", {"weight_steps": 3, "weight_salient_fraction": 0.2}),
        ("trit-planes, T=2 on 40 %", "spikellm-gptq", {"weights": "trit_planes"}),
        ("darkit ternary", "darkit", {}),
    ]
    found = [Method(name, preset(pipeline, bits="ternary", **changes)) for name, pipeline, changes in ternary]
    return [Method(method.name, method.spec, group="weights") for method in (*found, *two)]


def all_methods() -> list[Method]:
    """Every method, the most informative first."""
    return [*headline(), *controls(), *weights()]
