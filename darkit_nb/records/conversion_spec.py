"""How a trained decoder becomes a spiking one, what that will take, and what came of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args, get_type_hints

from darkit_nb.errors import ConfigError
from darkit_nb.records.plain import only_fields
from darkit_nb.records.spike_spec import SpikeSpec, described

Scaling = Literal["none", "smooth", "let"]
Rotation = Literal["none", "hadamard", "split", "learned"]
WeightMethod = Literal["rtn", "lwc", "gptq", "ternary", "trit_planes", "pb_llm"]

ADDITIVE: tuple[WeightMethod, ...] = ("ternary", "trit_planes", "pb_llm")
"""Weights whose bits follow from steps or from the share of 8-bit weights, not from `weight_bits`."""

STEPWISE: tuple[WeightMethod, ...] = ("ternary", "trit_planes")
"""Weights that are spikes themselves: sums of ternary planes."""


@dataclass(frozen=True, kw_only=True)
class ConversionSpec:
    """Every choice of a conversion. A preset (`config.conversions`) only fills these fields.

    Plain data without torch. Limits live in the field metadata, where `__post_init__` and forms read them.
    `spike.weight_bits` always equals `weight_bits`.

    Raises:
        ConfigError: a value outside its range, or a combination that has no meaning.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    pipeline: str = described("custom", "Name of the preset this began from, for reports.")
    spike: SpikeSpec | None = described(
        SpikeSpec(num_steps=1, salient_fraction=0.0), "How activations spike; none leaves them in float (A16)."
    )
    weight_bits: int = described(4, "Bits of a weight. Additive weights have bits of their own.", ge=2, le=8)
    scaling: Scaling = described(
        "none",
        "Per-feature scales that move outliers from activations into weights. smooth: the closed form of SmoothQuant. "
        "let: learned block by block, beginning there.",
    )
    scaling_alpha: float = described(
        0.5, "Share of an outlier that moves into the weights: s = max|x|^α / max|w|^(1−α).", ge=0.0, le=1.0
    )
    rotation: Rotation = described(
        "none",
        "hadamard: spread outliers over all features. split: the strongest directions become the salient features, "
        "each part spread within itself. learned: small matrices learned per layer, applied online.",
    )
    rotation_seed: int = described(0, "Seed of the random signs of the rotation.", ge=0)
    rotation_weighted: bool = described(
        False, "Split by D C D instead of C, D holding the norms of the weight columns behind each feature."
    )
    online_rotation: bool = described(
        False, "Also rotate the input of the MLP's last layer while the model runs, where no fold is exact."
    )
    weights: WeightMethod = described(
        "rtn",
        "rtn: round to nearest. lwc: learned clipping. gptq: error compensated column by column. ternary, trit_planes: "
        "weights are spikes, added without products. pb_llm: one bit, salient weights 8 bits.",
    )
    group_size: int | None = described(
        None, "Input features that share a weight scale; none gives one scale per output.", ge=1
    )
    salient_scale: bool = described(
        False, "Weights behind the salient features of spikes have scales of their own, one more for each output."
    )
    act_order: bool = described(False, "GPTQ takes the features with the largest activations first.")
    clip_search: bool = described(False, "Search the weight range with the least output error before coding.")
    float_target: bool = described(
        False, "Before coding, move each weight to where the quantised stream gives most nearly the float output."
    )
    residual_target: bool = described(
        False, "With float_target: layers that write into the residual stream also make good what it lacks by then."
    )
    target_damping: float = described(
        1.0, "How strongly float_target holds weights where they were, as a share of the Hessian's mean.", gt=0.0
    )
    scale_sweep: bool = described(
        False, "GPTQ runs with a few scales around the one found before, and each output keeps the best."
    )
    code_passes: int = described(
        0, "Passes of coordinate descent behind GPTQ: each code once more, given all others.", ge=0, le=8
    )
    hidden_clip: bool = described(
        False, "Behind the online rotation, cut each token's range to the share whose spikes miss it least."
    )
    damping: float = described(0.01, "Added to the Hessian's diagonal, as a share of its mean.", gt=0.0, le=1.0)
    weight_steps: int = described(1, "Weight spiking: steps T of the salient input features; others get 1.", ge=1, le=8)
    weight_salient_fraction: float = described(
        0.0, "Share of input features with all weight steps, or of weights with 8 bits (pb_llm).", ge=0.0, le=1.0
    )
    refine_epochs: int = described(0, "Epochs of block-wise training of scales and clipping (OmniQuant).", ge=0)
    refine_scaling_rate: float = described(1e-3, "Learning rate of the scales.", gt=0.0)
    refine_clip_rate: float = described(1e-2, "Learning rate of the clipping.", gt=0.0)
    steps_budget: float | None = described(
        None, "Mean spike steps of the whole model, shared out among layers by benefit; none: the same everywhere.",
        ge=1.0,
    )  # fmt: skip
    samples: int = described(128, "Calibration sequences.", ge=1)
    sample_length: int = described(2048, "Tokens of a calibration sequence.", ge=2)
    seed: int = described(0, "Seed of the calibration sequences and of training.", ge=0)

    def __post_init__(self) -> None:
        if isinstance(self.spike, Mapping):  # pydantic and JSON bring plain data
            object.__setattr__(self, "spike", SpikeSpec.from_dict(self.spike))
        _check_fields(self)
        if self.spike is not None and self.spike.weight_bits != self.weight_bits:
            object.__setattr__(self, "spike", dataclasses.replace(self.spike, weight_bits=self.weight_bits))
        for fault in _COMBINATIONS:
            fault(self)

    @property
    def activation_bits(self) -> float:
        """Bits of one spike step of an activation, log2 Q; 16 where activations stay in float."""
        return 16.0 if self.spike is None else math.log2(self.spike.num_levels)

    @property
    def name(self) -> str:
        """Pipeline and bits in one word, as in `darkit W4A4`."""
        weights = {"ternary": "ternary", "trit_planes": "trit-planes", "pb_llm": "PB"}.get(
            self.weights, f"W{self.weight_bits}"
        )
        return f"{self.pipeline} {weights}{'-' if self.weights in ADDITIVE else ''}A{self.activation_bits:.3g}"

    @property
    def digest(self) -> str:
        """Twelve hex digits that differ for every other choice; the name of the pipeline does not count."""
        text = json.dumps({k: v for k, v in self.to_dict().items() if k != "pipeline"}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def replace(self, **changes: Any) -> ConversionSpec:
        """The same conversion with other fields."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        data = {info.name: getattr(self, info.name) for info in dataclasses.fields(self)}
        data["spike"] = None if self.spike is None else self.spike.to_dict()
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ConversionSpec:
        """Read what `to_dict` wrote.

        Raises:
            ConfigError: a key this version does not know, or a value out of range.
        """
        return cls(**only_fields(cls, data, "conversion"))


def _check_fields(spec: ConversionSpec) -> None:
    hints = get_type_hints(ConversionSpec)
    for info in dataclasses.fields(spec):
        value, kind = getattr(spec, info.name), hints[info.name]
        choices = get_args(kind) if getattr(kind, "__origin__", None) is Literal else ()
        if choices and value not in choices:
            raise ConfigError(
                f"convert.{info.name} is not one of its choices.",
                expected=", ".join(map(str, choices)),
                received=repr(value),
                fix=info.metadata["description"],
            )
        low, above, high = (info.metadata.get(key) for key in ("ge", "gt", "le"))
        if value is None and type(None) in get_args(kind):
            continue
        number = low is not None or above is not None
        if number and (
            isinstance(value, bool)
            or not isinstance(value, int if "int" in str(kind) else (int, float))
            or not math.isfinite(value)
            or (low is not None and value < low)
            or (above is not None and value <= above)
            or (high is not None and value > high)
        ):
            bounds = f"{f'{low} ≤ ' if low is not None else f'{above} < '}{info.name}"
            raise ConfigError(
                f"convert.{info.name} is out of range.",
                expected=f"{bounds}{'' if high is None else f' ≤ {high}'}",
                received=repr(value),
                fix=info.metadata["description"],
            )


def _training_has_a_purpose(spec: ConversionSpec) -> None:
    trained = spec.scaling == "let" or spec.weights == "lwc" or spec.rotation == "learned"
    if trained != (spec.refine_epochs > 0):
        raise ConfigError(
            "Learned scales, clipping or matrices and epochs of training go together.",
            expected="refine_epochs ≥ 1 with scaling='let', weights='lwc' or rotation='learned', else 0",
            received=f"scaling={spec.scaling!r}, weights={spec.weights!r}, rotation={spec.rotation!r}, "
            f"refine_epochs={spec.refine_epochs}",
            fix="refine_epochs=20 is what OmniQuant takes",
        )


def _one_kind_of_weight_groups(spec: ConversionSpec) -> None:
    if spec.salient_scale and (spec.group_size is not None or spec.weights in ADDITIVE):
        raise ConfigError(
            "Scales for salient features and scales for groups of neighbours exclude each other.",
            expected="salient_scale=True with group_size=None and weights that are no spikes themselves",
            received=f"group_size={spec.group_size}, weights={spec.weights!r}",
        )


def _splits_have_salient_features(spec: ConversionSpec) -> None:
    spike = spec.spike
    if spec.rotation == "split" and (spike is None or not 0 < spike.salient_fraction < 1):
        raise ConfigError(
            "A split rotation makes the strongest directions salient, so there must be salient features.",
            expected="spike.salient_fraction between 0 and 1, both excluded",
            received="spike=None" if spike is None else f"spike.salient_fraction={spike.salient_fraction}",
            fix="use rotation='hadamard' for a conversion without salient features",
        )
    if spec.steps_budget is not None and (spike is None or spike.num_steps == 1):
        raise ConfigError(
            "There are no spike steps to share out.",
            expected="spike.num_steps ≥ 2 with steps_budget",
            received="spike=None" if spike is None else "spike.num_steps=1",
        )


_COMBINATIONS = (
    _training_has_a_purpose,
    _one_kind_of_weight_groups,
    _splits_have_salient_features,
)
