"""What a conversion will take, and what came of it, block by block. `ConversionSpec` says what is to be done."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from darkit_nb.records.conversion_spec import (
    ADDITIVE,
    STEPWISE,
    ConversionSpec,
    Rotation,
    Scaling,
    WeightMethod,
)
from darkit_nb.records.plain import own_fields

__all__ = [
    "ADDITIVE",
    "STEPWISE",
    "BlockReport",
    "ConversionPlan",
    "ConversionReport",
    "ConversionSpec",
    "LayerError",
    "Rotation",
    "Scaling",
    "WeightMethod",
]


@dataclass(frozen=True, kw_only=True)
class LayerError:
    """One converted linear layer.

    Attributes:
        name: dotted name in the model.
        in_features, out_features: its shape, D and O.
        error: relative squared output error on the calibration text, ‖y_q − y‖² / ‖y‖², with the layer's own input in
            the quantised stream.
        mean_steps: mean spike steps of an input feature, 1 + p(S − 1); 1 where activations stay in float.
        activation_bits: bits of one step of an activation; 16 for float.
        code_bits: mean bits of an activation's code, log2 of its number of values.
        weight_bits: bits of one weight as the operation count takes them: nominal bits, or mean steps of additive
            weights times the bits of one.
        storage_bits: bytes on disk times 8, scales, zeros and masks included, per weight.
    """

    name: str
    in_features: int
    out_features: int
    error: float
    mean_steps: float
    activation_bits: float
    code_bits: float
    weight_bits: float
    storage_bits: float

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one token."""
        return self.in_features * self.out_features

    @property
    def ace(self) -> float:
        """Arithmetic effort of one multiply-accumulate: weight bits × activation bits × mean steps."""
        return self.weight_bits * self.activation_bits * self.mean_steps


@dataclass(frozen=True, kw_only=True)
class BlockReport:
    """One converted decoder block.

    Attributes:
        index: from 0.
        name: dotted name in the model.
        seconds: wall time.
        peak_bytes: most memory the process held in this block, None where the system does not tell.
        error: relative squared output error of the block on the calibration text, ‖y_q − y‖² / ‖y‖², where y is the
            float block on the float stream and y_q the converted block on the quantised stream.
        own_error: the same with the float stream at both inputs: what this block alone adds. None where not measured.
        layers: its linear layers.
        losses: mean training loss of each epoch of refinement.
        resumed: taken over from an earlier, interrupted conversion.
    """

    index: int
    name: str
    seconds: float
    peak_bytes: int | None
    error: float
    layers: tuple[LayerError, ...]
    own_error: float | None = None
    losses: tuple[float, ...] = ()
    resumed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON and events."""
        return dataclasses.asdict(self) | {
            "layers": [dataclasses.asdict(layer) for layer in self.layers],
            "losses": list(self.losses),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> BlockReport:
        """Read what `to_dict` wrote; keys of newer versions are passed over."""
        fields = own_fields(cls, data)
        fields["layers"] = tuple(LayerError(**layer) for layer in data["layers"])
        fields["losses"] = tuple(data.get("losses", ()))
        return cls(**fields)


@dataclass(frozen=True, kw_only=True)
class ConversionPlan:
    """What a conversion needs, known before it begins.

    Attributes:
        source: folder or name of the float model.
        architecture: its class in transformers.
        blocks: decoder blocks.
        parameters: all parameters, a tied embedding counted once.
        resident_bytes: weights in memory at one time: one block, what surrounds the blocks, and working space.
        cache_bytes: activations of the calibration text kept between blocks, both streams.
        disk_bytes: the converted model and the work folder together.
        seconds_estimate: wall time, None where nothing is known about this machine.
        lines: the plan in words, to be printed first.
        processes: that share the calibration text; memory is that of each of them.
        scoring_bytes: memory that scoring takes at the end, in one process, when the rest is free; 0 without.
    """

    source: str
    architecture: str
    blocks: int
    parameters: int
    resident_bytes: int
    cache_bytes: int
    disk_bytes: int
    seconds_estimate: float | None
    lines: tuple[str, ...]
    processes: int = 1
    scoring_bytes: int = 0

    @property
    def memory_bytes(self) -> int:
        """Most at one time: weights and cached activations together, or what scoring takes if that is more."""
        return max(self.resident_bytes + self.cache_bytes, self.scoring_bytes)

    @property
    def text(self) -> str:
        """The plan in words."""
        return "\n".join(self.lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON and events."""
        return dataclasses.asdict(self) | {"lines": list(self.lines)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ConversionPlan:
        """Read what `to_dict` wrote."""
        return cls(**{**own_fields(cls, data), "lines": tuple(data["lines"])})


@dataclass(frozen=True, kw_only=True)
class ConversionReport:
    """A finished conversion. Means over layers are weighted by the layers' multiply-accumulates.

    Attributes:
        spec: what was asked for.
        source: folder or name of the float model.
        out: folder of the converted model.
        blocks: one report each.
        seconds: wall time of the whole, work taken over from an interrupted conversion included.
        peak_bytes: most memory the process held, None where the system does not tell.
        float_bytes: the converted weights in 16-bit floats.
        converted_bytes: the same weights as stored now, scales, zeros and masks included.
        saved_bytes: all files of the converted model.
    """

    spec: ConversionSpec
    source: str
    out: str
    blocks: tuple[BlockReport, ...]
    seconds: float
    peak_bytes: int | None
    float_bytes: int
    converted_bytes: int
    saved_bytes: int
    layers: tuple[LayerError, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(layer for block in self.blocks for layer in block.layers))

    @property
    def mean_steps(self) -> float:
        """Mean spike steps of an activation."""
        return _mean([layer.mean_steps for layer in self.layers], self.layers)

    @property
    def code_bits(self) -> float:
        """Mean bits of an activation's code."""
        return _mean([layer.code_bits for layer in self.layers], self.layers)

    @property
    def ace(self) -> float:
        """Mean arithmetic effort of a multiply-accumulate: weight bits × activation bits × steps; 16 for plain W4A4."""
        return _mean([layer.ace for layer in self.layers], self.layers)

    @property
    def weight_bits(self) -> float:
        """Mean bits of a weight as the operation count takes them."""
        return _mean([layer.weight_bits for layer in self.layers], self.layers)

    @property
    def storage_bits(self) -> float:
        """Mean stored bits of a weight, scales, zeros and masks included."""
        return _mean([layer.storage_bits for layer in self.layers], self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; the means are written too, for readers without this class."""
        plain = {name: getattr(self, name) for name in _PLAIN}
        means = {
            name: getattr(self, name) for name in ("mean_steps", "code_bits", "ace", "weight_bits", "storage_bits")
        }
        return {
            "schema": 1,
            "spec": self.spec.to_dict(),
            "blocks": [block.to_dict() for block in self.blocks],
            **plain,
            **means,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ConversionReport:
        """Read what `to_dict` wrote."""
        return cls(
            spec=ConversionSpec.from_dict(data["spec"]),
            blocks=tuple(BlockReport.from_dict(block) for block in data["blocks"]),
            **{name: data[name] for name in _PLAIN},
        )


_PLAIN = ("source", "out", "seconds", "peak_bytes", "float_bytes", "converted_bytes", "saved_bytes")
_MEANS = ("mean_steps", "code_bits", "ace", "weight_bits", "storage_bits")


def _mean(values: Sequence[float], layers: Sequence[LayerError]) -> float:
    weights = [layer.macs for layer in layers]
    return math.fsum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights) if layers else math.nan
