"""What computing a token costs: the constants, the work that stays float, and the energy of each way to do it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Origin = Literal["hooks", "config", "spikes"]

SPIKING_READING = "unary"
"""The reading of a spiking model where there is room for one number: a spike of level q is q events, the dearer of the
two event-driven readings."""

FLOAT_READING = "float16"
"""That of a float model."""


@dataclass(frozen=True, kw_only=True)
class EnergyConstants:
    """Energy of single operations in picojoule, 45 nm CMOS at 0.9 V.

    Attributes:
        float32_add, float32_multiply, float16_add, float16_multiply: published.
        int8_add, int32_add, int8_multiply, int32_multiply: published.
        special: multiply-adds that one exp, division, root, sine or cosine counts as. Our assumption: the table has no
            such entry. It weighs the same in every column.
        local_pj_per_byte: 32 kB memory beside the arithmetic, published as 20 pJ per 64 bit.
        shared_pj_per_byte: 1 MB on-chip memory, published as 100 pJ per 64 bit.
        dram_pj_per_byte: off-chip memory, published as 1.3 to 2.6 nJ per 64 bit; the lower end.

    Source: Horowitz 2014, "Computing's energy problem (and what we can do about it)", ISSCC, figure 1.1.9.
    """

    float32_add: float = 0.9
    float32_multiply: float = 3.7
    float16_add: float = 0.4
    float16_multiply: float = 1.1
    int8_add: float = 0.03
    int32_add: float = 0.1
    int8_multiply: float = 0.2
    int32_multiply: float = 3.1
    special: float = 8.0
    local_pj_per_byte: float = 20 / 8
    shared_pj_per_byte: float = 100 / 8
    dram_pj_per_byte: float = 1300 / 8

    def integer_add(self, bits: float) -> float:
        """Addition of `bits` wide integers: linear between and beyond the published 8 and 32 bit. Interpolated."""
        return self.int8_add + (bits - 8) * (self.int32_add - self.int8_add) / 24

    def integer_multiply(self, bits: float, other_bits: float) -> float:
        """Product of two integers, proportional to bits × other_bits from the published 8 × 8. Interpolated.

        The same rule gives 3.2 pJ at 32 × 32, where 3.1 is published.
        """
        return self.int8_multiply * bits * other_bits / 64


@dataclass(frozen=True, kw_only=True)
class FloatPart:
    """Work that stays in floating point, per token.

    Attributes:
        name: what it is, in the words of the field.
        origin: how it was counted: by forward hooks on the modules, from the model's configuration, or from the spikes.
        macs: multiply-accumulates.
        additions: additions, subtractions, comparisons, roundings.
        multiplications: multiplications.
        special: exp, division, root, sine, cosine.
        weights: parameters it needs, loaded once per pass over the model.
        lookups: table entries it reads for every token.
    """

    name: str
    origin: Origin
    macs: float = 0.0
    additions: float = 0.0
    multiplications: float = 0.0
    special: float = 0.0
    weights: float = 0.0
    lookups: float = 0.0

    @property
    def operations(self) -> float:
        """All operations, a multiply-accumulate counted as two."""
        return 2 * self.macs + self.additions + self.multiplications + self.special


@dataclass(frozen=True)
class ModelFacts:
    """What a model computes outside its spiking layers.

    Attributes:
        parts: the float work, per token.
        window: tokens of context the attention parts are averaged over.
        mixing: the float work of transforms before encoding, per token, which a network in float does without.
    """

    parts: tuple[FloatPart, ...]
    window: int
    mixing: tuple[FloatPart, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EnergyReading:
    """Energy of one token when the same layers are computed in one particular way, in picojoule.

    Attributes:
        key: short stable name: float32, float16, integer, steps, unary or bitwise.
        name: what is computed how, in words.
        operations: operations in the layers that spike, per token: multiply-accumulates, or additions.
        layers_pj: arithmetic of those layers.
        encoding_pj: turning activations into integers or spikes, and results back into floats.
        float_pj: arithmetic of everything that stays float.
        memory_pj: moving weights, activations and operands.
    """

    key: str
    name: str
    operations: float
    layers_pj: float
    encoding_pj: float
    float_pj: float
    memory_pj: float

    @property
    def compute_pj(self) -> float:
        """All arithmetic, no memory."""
        return self.layers_pj + self.encoding_pj + self.float_pj

    @property
    def total_pj(self) -> float:
        """Arithmetic and memory."""
        return self.compute_pj + self.memory_pj


@dataclass(frozen=True, kw_only=True)
class EnergyReport:
    """Energy per token of a spiking model, read in several ways, beside the same model in float and in integers.

    Attributes:
        readings: dense float32 and float16, the equal-bit integer network, and the spikes read three ways.
        float_parts: what stays float, encoding included.
        window: tokens of context.
        tokens_per_weight_load: tokens that share one transfer of the weights from off-chip memory.
        ace: arithmetic computation effort of the spiking layers per token, in bit operations.
        constants: what one operation costs.
    """

    readings: tuple[EnergyReading, ...]
    float_parts: tuple[FloatPart, ...]
    window: int
    tokens_per_weight_load: int
    ace: float
    constants: EnergyConstants

    def reading(self, key: str) -> EnergyReading:
        """The reading of that key; a KeyError where there is none."""
        return {reading.key: reading for reading in self.readings}[key]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        plain = dataclasses.asdict(self)
        totals = [{"compute_pj": reading.compute_pj, "total_pj": reading.total_pj} for reading in self.readings]
        plain["readings"] = [own | more for own, more in zip(plain["readings"], totals, strict=True)]
        return plain | {"float_parts": list(plain["float_parts"])}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> EnergyReport:
        """The record `to_dict` described; totals and unknown keys are ignored."""
        return cls(
            readings=tuple(_own_fields(EnergyReading, each) for each in data["readings"]),
            float_parts=tuple(_own_fields(FloatPart, each) for each in data["float_parts"]),
            constants=_own_fields(EnergyConstants, data["constants"]),
            **{name: data[name] for name in ("window", "tokens_per_weight_load", "ace")},
        )


def _own_fields(record: Any, data: Mapping[str, Any]) -> Any:
    return record(**{info.name: data[info.name] for info in dataclasses.fields(record)})
