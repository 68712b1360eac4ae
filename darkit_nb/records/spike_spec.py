"""What a spiking neuron is asked to do: the one description shared by config, layers and kernels."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from darkit_nb.errors import ConfigError
from darkit_nb.records.plain import only_fields

Coding = Literal["rate", "radix", "paper"]
Ranges = Literal["shared", "own"]
Saliency = Literal["energy", "error", "absmax", "random"]
Gradient = Literal["clipped", "range"]
Backend = Literal["auto", "reference", "blocked", "native", "cupy"]


def described(default: Any, description: str, **limits: Any) -> Any:
    """Dataclass field whose metadata pydantic reads as field description and limits."""
    return field(default=default, metadata={"description": description, **limits})


@dataclass(frozen=True, kw_only=True)
class SpikeSpec:
    """How activations, and optionally attention products, become integer spikes.

    Plain data without torch, so forms, YAML and worker processes share it. Limits live in the field
    metadata, where both `__post_init__` and pydantic read them.

    Raises:
        ConfigError: a value outside its range, or a combination that has no meaning.
    """

    # Read by pydantic when this dataclass is a field of a model: a misspelt key is an error there too.
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    num_levels: int = described(
        16, "Levels Q a neuron can emit in one step (0 … Q-1); 16 is 4-bit, 2 is binary.", ge=2, le=256
    )
    num_steps: int = described(2, "Spike steps S of the salient features; the others get one.", ge=1, le=64)
    salient_fraction: float = described(
        0.1, "Share of input features that get all S steps; 1 gives them to every feature.", ge=0.0, le=1.0
    )
    coding: Coding = described(
        "rate",
        "rate: S steps carry S(Q-1)+1 values. radix: thresholds fall by Q each step, Q^S values. "
        "paper: the published quantiser, whose top codes S steps cannot carry.",
    )
    ranges: Ranges = described(
        "shared", "shared: one min–max range per token. own: salient features have a range of their own."
    )
    signed: bool = described(
        False, "Symmetric spikes −(Q-1) … Q-1 without a zero point; with Q = 2 this is the ternary neuron."
    )
    weight_bits: int = described(4, "Bits of a weight, per output channel; 16 leaves weights in float.", ge=2, le=16)
    saliency: Saliency = described(
        "error",
        "How salient features are chosen. error: range² · ‖W‖², the quantisation error a feature causes. "
        "energy: x·(WᵀWx) as published. absmax: largest magnitude. random: the control.",
    )
    reselect_every: int = described(
        100, "Training steps between two choices of the salient features; 0 keeps the first choice.", ge=0
    )
    gradient: Gradient = described(
        "clipped",
        "clipped: straight-through inside the range, ranges held constant. range: exact gradient through "
        "the minimum and maximum of each token as well.",
    )
    attention: bool = described(False, "Encode keys and values of the attention products too, causally per token.")
    include: tuple[str, ...] = described(
        ("*",), "Module name patterns (shell style) of the linear layers to make spiking."
    )
    exclude: tuple[str, ...] = described(
        ("lm_head", "*.lm_head", "*embed*"), "Module name patterns that stay in float, whatever `include` says."
    )
    backend: Backend = described("auto", "Implementation of the neuron; auto takes the fastest that works here.")

    def __post_init__(self) -> None:
        for info in dataclasses.fields(self):
            value = getattr(self, info.name)
            low, high = info.metadata.get("ge"), info.metadata.get("le")
            if (low is not None and value < low) or (high is not None and value > high):
                raise ConfigError(
                    f"spike.{info.name} is out of range.",
                    expected=f"{'' if low is None else f'{low} ≤ '}{info.name}{'' if high is None else f' ≤ {high}'}",
                    received=repr(value),
                    fix=info.metadata["description"],
                )
        # YAML and JSON bring lists; a frozen, hashable spec holds tuples.
        object.__setattr__(self, "include", tuple(self.include))
        object.__setattr__(self, "exclude", tuple(self.exclude))
        self._check_codes()
        if 8 < self.weight_bits < 16:
            raise ConfigError(
                "Weights between 9 and 15 bits are not stored by any layout here.",
                expected="weight_bits 2 … 8, or 16 for float weights",
                received=f"weight_bits={self.weight_bits}",
                fix="use weight_bits=8, or weight_bits=16",
            )

    def _check_codes(self) -> None:
        cap = self.cap
        if cap > 2**20:
            raise ConfigError(
                f"{self.coding} coding with Q={self.num_levels} and S={self.num_steps} needs codes up to {cap}.",
                expected="codes up to 2^20, so that float32 arithmetic on them stays exact",
                received=f"num_levels={self.num_levels}, num_steps={self.num_steps}",
                fix="lower num_steps or num_levels, or use coding='rate'",
            )
        if self.coding == "paper" and (
            self.num_levels & (self.num_levels - 1) or self.num_steps & (self.num_steps - 1)
        ):
            raise ConfigError(
                "Paper codes exist only for whole bits.",
                expected="num_levels and num_steps that are powers of two",
                received=f"num_levels={self.num_levels}, num_steps={self.num_steps}",
                fix="use coding='rate', which takes any number of levels and steps",
            )
        if self.signed and self.coding == "paper":
            raise ConfigError(
                "The published quantiser has no signed form.",
                expected="signed=False with coding='paper'",
                received="signed=True",
                fix="use coding='rate' for signed or ternary spikes",
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
