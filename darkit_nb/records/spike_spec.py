"""What a spiking neuron is asked to do: the one description shared by config, layers and kernels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from darkit_nb.records.plain import only_fields
from darkit_nb.records.problem import Problem, settings_error
from darkit_nb.records.setting import described, misfits

Coding = Literal["rate", "radix", "paper"]
Ranges = Literal["shared", "own"]
Saliency = Literal["energy", "error", "absmax", "random"]
Gradient = Literal["clipped", "range"]
Backend = Literal["auto", "reference", "blocked", "native", "cupy"]

MOST_CODES = 2**20
"""Codes up to here are exact in float32 arithmetic, sums of a few of them too."""


@dataclass(frozen=True, kw_only=True)
class SpikeSpec:
    """How activations, and optionally attention products, become integer spikes.

    Plain data without torch, so forms, YAML and worker processes share it. Descriptions and limits live on the fields,
    where `__post_init__`, forms and pydantic read them.

    Raises:
        SettingsError: values of another kind or outside their range; or combinations that have no meaning. All of them
            are told at once.
    """

    # Read by pydantic when this dataclass is a field of a model: a misspelt key is an error there too.
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    num_levels: int = described(
        16,
        "Levels Q a neuron can emit in one step, 0 … Q−1: 16 levels are 4 bits, 2 are a binary spike.",
        label="Levels per step",
        ge=2,
        le=256,
    )
    num_steps: int = described(
        2, "Spike steps S of the salient features; all other features get one step.", label="Spike steps", ge=1, le=64
    )
    salient_fraction: float = described(
        0.1,
        "Share of the input features that get all steps: 0 none, 1 every feature.",
        label="Salient features",
        ge=0.0,
        le=1.0,
    )
    coding: Coding = described(
        "rate",
        "How the steps of a feature add up. rate: every step counts the same, S(Q−1)+1 values. radix: each step counts "
        "for Q times less than the one before, Q^S values. paper: the published quantiser, whose highest values the "
        "steps cannot carry.",
    )
    ranges: Ranges = described(
        "shared",
        "Where the smallest and largest value of a token are looked for. shared: among all its features. own: salient "
        "features have a range of their own, so that outliers do not coarsen the others.",
        label="Range of a token",
    )
    signed: bool = described(
        False,
        "Spikes from −(Q−1) to Q−1 around zero, without an offset; with two levels this is the ternary neuron.",
    )
    weight_bits: int = described(
        4, "Bits of a weight, one scale for each output; 16 leaves weights in float.", unit="bits", ge=2, le=16
    )
    saliency: Saliency = described(
        "error",
        "How salient features are chosen. error: those whose rounding costs most, range² · ‖W‖². energy: those that "
        "carry most of the output, x·(WᵀWx), as published. absmax: those with the largest value. random: the control.",
        label="Salient are those of",
    )
    reselect_every: int = described(
        100,
        "Training steps between two choices of the salient features; 0 keeps the first choice.",
        unit="training steps",
        ge=0,
    )
    gradient: Gradient = described(
        "clipped",
        "How training sees the rounding. clipped: as if values inside the range passed unchanged, the range held "
        "constant. range: the exact gradient through the smallest and largest value of each token as well.",
    )
    attention: bool = described(
        False,
        "Keys and values of the attention become spikes too, token by token as they come.",
        label="Spiking keys and values",
    )
    include: tuple[str, ...] = described(
        ("*",), "Names of the linear layers that become spiking, with * for any text.", label="Layers"
    )
    exclude: tuple[str, ...] = described(
        ("lm_head", "*.lm_head", "*embed*"), "Names of layers that stay in float all the same.", label="Layers in float"
    )
    backend: Backend = described(
        "auto", "Which code computes the neuron; auto takes the fastest that works on this machine. Results are equal."
    )

    def __post_init__(self) -> None:
        # YAML and JSON bring lists; a frozen, hashable spec holds tuples.
        for name in ("include", "exclude"):
            patterns = getattr(self, name)
            object.__setattr__(self, name, tuple(patterns) if isinstance(patterns, list) else patterns)
        found = list(misfits(self)) or list(self._contradictions())
        if found:
            raise settings_error(found)

    def _contradictions(self) -> Iterator[Problem]:
        """What fields that are fine by themselves cannot mean together."""
        sizes = f"num_levels={self.num_levels}, num_steps={self.num_steps}"
        if self.cap > MOST_CODES:
            yield Problem(
                key="",
                message=f"{self.coding} coding with Q={self.num_levels} and S={self.num_steps} needs codes up to "
                f"{self.cap:.4g}.",
                expected="codes up to 2^20, so that float32 arithmetic on them stays exact",
                received=sizes,
                fix="lower num_steps or num_levels, or use coding='rate'",
            )
        whole_bits = not (self.num_levels & (self.num_levels - 1) or self.num_steps & (self.num_steps - 1))
        if self.coding == "paper" and not whole_bits:
            yield Problem(
                key="",
                message="Paper codes exist only for whole bits.",
                expected="num_levels and num_steps that are powers of two",
                received=f"coding='paper', {sizes}",
                fix="use coding='rate', which takes any number of levels and steps",
            )
        if self.signed and self.coding == "paper":
            yield Problem(
                key="",
                message="The published quantiser has no signed form.",
                expected="signed=False with coding='paper'",
                received="coding='paper', signed=True",
                fix="use coding='rate' for signed or ternary spikes",
            )
        if 8 < self.weight_bits < 16:
            yield Problem(
                key="weight_bits",
                message="Weights between 9 and 15 bits are not stored by any layout here.",
                expected="weight_bits 2 … 8, or 16 for float weights",
                received=f"weight_bits={self.weight_bits}",
                fix="use weight_bits=8, or weight_bits=16",
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: tuples become lists."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SpikeSpec:
        """Read what `to_dict` wrote.

        Raises:
            ConfigError: a key this version does not know, or a value out of range.
        """
        return cls(**only_fields(cls, data, "spike"))

    @property
    def cap(self) -> int:
        """Largest code of a salient feature."""
        return code_cap(self.num_levels, self.num_steps, self.coding)

    @property
    def mean_steps(self) -> float:
        """Mean spike steps of a feature, ⟨S⟩ = 1 + p(S − 1)."""
        return 1.0 + self.salient_fraction * (self.num_steps - 1)


def code_cap(num_levels: int, num_steps: int, coding: Coding) -> int:
    """Largest integer that `num_steps` spikes of `num_levels` levels stand for.

    rate: S(Q−1); radix: Q^S − 1; paper: S·Q − 1, more than S steps can carry when S > 1.
    """
    if coding == "radix":
        return num_levels**num_steps - 1
    if coding == "paper":
        return num_steps * num_levels - 1
    return num_steps * (num_levels - 1)
