"""How a trained decoder becomes a spiking one, what that will take, and what came of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from darkit_nb.records.plain import only_fields
from darkit_nb.records.problem import Problem, SettingsError, settings_error
from darkit_nb.records.setting import described, misfits
from darkit_nb.records.spike_spec import SpikeSpec

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

    Plain data without torch. Descriptions and limits live on the fields, in the order and groups in which forms show
    them; `__post_init__` reads the limits. `spike.weight_bits` always equals `weight_bits`.

    Raises:
        SettingsError: values of another kind or outside their range; or combinations that have no meaning. All of them
            are told at once.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    pipeline: str = described("custom", "Name of the preset this began from, for reports.")
    spike: SpikeSpec | None = described(
        SpikeSpec(num_steps=1, salient_fraction=0.0), "How activations spike; none leaves them in float (A16)."
    )
    steps_budget: float | None = described(
        None,
        "Spike steps of the whole model on the mean. Layers that gain more get more of them; none gives all layers "
        "the same share of salient features.",
        label="Steps to share out",
        unit="steps",
        group="spike",
        ge=1.0,
    )
    weights: WeightMethod = described(
        "rtn",
        "How weights become codes. rtn: round to nearest. lwc: round within a range that is learned. gptq: column by "
        "column, each error made good by the columns still to come. ternary, trit_planes: weights are spikes −1, 0, 1 "
        "that are only added. pb_llm: one bit, and 8 bits for the salient share.",
        label="Method",
        group="coding",
    )
    weight_bits: int = described(
        4,
        "Bits of a weight: 4 bits are 16 values. Ternary, trit-plane and PB-LLM weights have bits of their own.",
        unit="bits",
        group="coding",
        ge=2,
        le=8,
    )
    group_size: int | None = described(
        None,
        "Neighbouring input features whose weights share a scale. Smaller groups lose less and store more; none gives "
        "one scale for each output.",
        unit="features",
        group="coding",
        ge=1,
    )
    clip_search: bool = described(
        False,
        "Try narrower ranges of the weights before they are coded, and keep the one with the least error of the "
        "output: large weights are cut so that the others are coded more finely.",
        label="Search the range",
        group="coding",
    )
    act_order: bool = described(
        False,
        "GPTQ codes the features with the largest activations first, while most columns can still make good for them.",
        label="Largest activations first",
        group="coding",
    )
    damping: float = described(
        0.01,
        "What GPTQ adds to the diagonal of its Hessian, as a share of the mean: more of it trusts the calibration text "
        "less.",
        group="coding",
        gt=0.0,
        le=1.0,
    )
    salient_scale: bool = described(
        False,
        "Weights behind the salient features of spikes have scales of their own: one more number for each output.",
        label="Scales of the salient",
        group="coding",
    )
    float_target: bool = described(
        False,
        "Before they are coded, move weights so that what the layer really gets, spikes and earlier errors included, "
        "leads most nearly to the float layer's output.",
        label="Aim at the float output",
        group="coding",
    )
    residual_target: bool = described(
        False,
        "With float_target: layers that write into the residual stream also make good what it lacks by then.",
        label="Aim at the float stream",
        group="coding",
    )
    target_damping: float = described(
        1.0,
        "How strongly float_target and residual_target hold weights where they were, as a share of the Hessian's mean: "
        "more of it trusts the calibration text less.",
        label="Damping of the aim",
        group="coding",
        gt=0.0,
    )
    scale_sweep: bool = described(
        False,
        "GPTQ runs once for each of a few scales around the one found before, and each output keeps its best. Several "
        "times the work.",
        label="Try scales",
        group="coding",
    )
    code_passes: int = described(
        0,
        "Passes behind GPTQ in which every code is chosen once more, given all others.",
        label="Passes over codes",
        unit="passes",
        group="coding",
        ge=0,
        le=8,
    )
    shaped_rounding: bool = described(
        False,
        "With GPTQ: code a layer's outputs one after another too, and let those still to come make good what is "
        "missed, by how much the model's predictions feel it. Takes gradients of the float model.",
        label="Shape rounding errors",
        group="coding",
    )
    weight_steps: int = described(
        1,
        "Ternary and trit-plane weights: spike steps of the salient input features; all others have one.",
        unit="steps",
        group="coding",
        ge=1,
        le=8,
    )
    weight_salient_fraction: float = described(
        0.0,
        "Ternary and trit-plane weights: share of the input features with all weight steps. PB-LLM: share of the "
        "weights with 8 bits.",
        label="Salient weights",
        group="coding",
        ge=0.0,
        le=1.0,
    )
    scaling: Scaling = described(
        "none",
        "Divide each feature by a factor and multiply the weights behind it by the same: the model stays what it was, "
        "and large activations become smaller. smooth: factors by SmoothQuant's formula. let: those, then trained "
        "block by block.",
        label="Scales",
        group="outliers",
    )
    scaling_alpha: float = described(
        0.5,
        "How much of a large activation the weights take over: 0 nothing, 1 all. s = max|x|^α / max|w|^(1−α).",
        label="Share of the weights",
        group="outliers",
        ge=0.0,
        le=1.0,
    )
    rotation: Rotation = described(
        "none",
        "Mix features so that no single one is large; the weights undo it. hadamard: all features alike. split: the "
        "strongest directions become the salient features, and both parts are mixed within themselves. learned: two "
        "small matrices a layer, trained and applied while the model runs.",
        group="outliers",
    )
    online_rotation: bool = described(
        False,
        "Also mix the input of the MLP's last layer, while the model runs: the activation function before it lets no "
        "weights take the mixing in.",
        label="Rotate hidden features",
        group="outliers",
    )
    hidden_clip: bool = described(
        False,
        "Behind that rotation, cut the range of each token to the share of it with which spikes miss least.",
        label="Cut hidden ranges",
        group="outliers",
    )
    norm_clip: bool = described(
        False,
        "Behind a rotation of the stream, cut the range of each token in front of queries, keys, values and the MLP's "
        "first layers too.",
        label="Cut ranges of norms",
        group="outliers",
    )
    rotation_weighted: bool = described(
        False,
        "Directions of a split are weighed by the weights behind them: D C D in place of C, D holding the norms of the "
        "weights each feature meets.",
        label="Weigh directions",
        group="outliers",
    )
    rotation_seed: int = described(0, "Seed of the random signs of the rotation.", group="outliers", ge=0)
    refine_epochs: int = described(
        0,
        "How often each block is trained on the calibration text to give what the float block gives. It trains learned "
        "scales, ranges and matrices, and nothing else.",
        label="Epochs a block",
        unit="epochs",
        group="training",
        ge=0,
    )
    refine_scaling_rate: float = described(
        1e-3, "Learning rate of scales and matrices.", label="Rate of scales", group="training", gt=0.0
    )
    refine_clip_rate: float = described(
        1e-2, "Learning rate of the ranges of weights.", label="Rate of ranges", group="training", gt=0.0
    )
    samples: int = described(
        128,
        "Pieces of text the model listens to while it is converted. More of them take longer and give better figures "
        "of what it does.",
        label="Sequences",
        unit="sequences",
        group="calibration",
        ge=1,
    )
    sample_length: int = described(
        2048,
        "Tokens of each sequence, at most the model's context.",
        label="Tokens of each",
        unit="tokens",
        group="calibration",
        ge=2,
    )
    seed: int = described(0, "Seed by which the sequences are drawn, and of training.", group="calibration", ge=0)

    def __post_init__(self) -> None:
        found: list[Problem] = []
        if isinstance(self.spike, Mapping):  # pydantic and JSON bring plain data
            try:
                object.__setattr__(self, "spike", SpikeSpec.from_dict(self.spike))
            except SettingsError as error:
                found += [problem.under("spike") for problem in error.problems]
                object.__setattr__(self, "spike", None)
        found += misfits(self)
        found = found or list(_contradictions(self))
        if found:
            raise settings_error(found)
        if self.spike is not None and self.spike.weight_bits != self.weight_bits:
            object.__setattr__(self, "spike", dataclasses.replace(self.spike, weight_bits=self.weight_bits))

    @property
    def activation_bits(self) -> float:
        """Bits of one spike step of an activation, log2 Q; 16 where activations stay in float."""
        return 16.0 if self.spike is None else math.log2(self.spike.num_levels)

    @property
    def shapes_errors(self) -> bool:
        """Whether GPTQ is shaped by what predictions feel; other ways of coding weights take no notice."""
        return self.shaped_rounding and self.weights == "gptq"

    @property
    def weight_additions(self) -> float:
        """Additions that a weight of spikes takes on average: 1 + p(T − 1), an 8-bit weight of PB-LLM counted as 8.

        Nothing of the kind, 0, for weights that are multiplied.
        """
        if self.weights not in ADDITIVE:
            return 0.0
        return 1 + self.weight_salient_fraction * (7 if self.weights == "pb_llm" else self.weight_steps - 1)

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


def _contradictions(spec: ConversionSpec) -> Iterator[Problem]:
    """What fields that are fine by themselves cannot mean together."""
    spike = spec.spike
    trained = spec.scaling == "let" or spec.weights == "lwc" or spec.rotation == "learned"
    if trained != (spec.refine_epochs > 0):
        yield Problem(
            key="refine_epochs",
            message="Learned scales, clipping or matrices and epochs of training go together.",
            expected="refine_epochs ≥ 1 with scaling='let', weights='lwc' or rotation='learned', else 0",
            received=f"scaling={spec.scaling!r}, weights={spec.weights!r}, rotation={spec.rotation!r}, "
            f"refine_epochs={spec.refine_epochs}",
            fix="refine_epochs=20 is what OmniQuant takes",
        )
    if spec.salient_scale and (spec.group_size is not None or spec.weights in ADDITIVE):
        yield Problem(
            key="salient_scale",
            message="Scales for salient features and scales for groups of neighbours exclude each other.",
            expected="salient_scale=True with group_size=None and weights that are no spikes themselves",
            received=f"salient_scale=True, group_size={spec.group_size}, weights={spec.weights!r}",
        )
    if spec.rotation == "split" and (spike is None or not 0 < spike.salient_fraction < 1):
        yield Problem(
            key="rotation",
            message="A split rotation makes the strongest directions salient, so there must be salient features.",
            expected="spike.salient_fraction between 0 and 1, both excluded",
            received="rotation='split', "
            + ("spike=None" if spike is None else f"spike.salient_fraction={spike.salient_fraction}"),
            fix="use rotation='hadamard' for a conversion without salient features",
        )
    if spec.steps_budget is not None and (spike is None or spike.num_steps == 1):
        yield Problem(
            key="steps_budget",
            message="There are no spike steps to share out.",
            expected="spike.num_steps ≥ 2 with steps_budget",
            received=f"steps_budget={spec.steps_budget}, " + ("spike=None" if spike is None else "spike.num_steps=1"),
        )
