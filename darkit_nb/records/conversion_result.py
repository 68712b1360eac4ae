"""What came of a conversion, measured: one row of the table in which pipelines are compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from darkit_nb.records.energy import EnergyReport
from darkit_nb.records.paired import PairedDifference, WindowLosses
from darkit_nb.records.plain import own_fields

DENSE_ACE = 256.0
"""Arithmetic effort of one product of 16-bit numbers, what float16 is counted as."""


@dataclass(frozen=True, kw_only=True)
class ConversionCost:
    """What the converted layers compute and store. Means are weighted by the layers' products.

    Attributes:
        mean_steps: ⟨S⟩, spike steps of an input feature; 1 where activations stay in float.
        code_bits: information of one activation; 16 in float.
        weight_bits: bits of a weight as operations count them: mean planes of weights that are spikes themselves.
        storage_bits: bits a weight takes on disk, scales, zero points and masks included.
        weight_bytes: of the converted layers together, as stored.
        float_bytes: the same layers in float16.
        ace: arithmetic effort of one product, weight bits × bits of a step × steps: 16 for plain W4A4, 256 for float16.
        unary_events: additions per product, a spike of level q being q unit spikes; None with float activations.
        bitwise_events: additions per product, a spike being its set bits; None with float activations.
        energy: per token, spikes beside dense float and the equal-bit integer network; None with float activations.
    """

    mean_steps: float
    code_bits: float
    weight_bits: float
    storage_bits: float
    weight_bytes: int
    float_bytes: int
    ace: float
    unary_events: float | None = None
    bitwise_events: float | None = None
    energy: EnergyReport | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        plain = {info.name: getattr(self, info.name) for info in dataclasses.fields(self)}
        return {**plain, "energy": None if self.energy is None else self.energy.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ConversionCost:
        """Read what `to_dict` wrote; unknown keys are ignored."""
        own = own_fields(cls, data)
        energy = own.get("energy")
        return cls(**{**own, "energy": None if energy is None else EnergyReport.from_dict(energy)})


@dataclass(frozen=True, kw_only=True)
class ConversionRow:
    """One model in the comparison: the float model itself, or what a pipeline made of it.

    Attributes:
        name: pipeline and bits, such as `darkit W4A4`; `float` for the model converted from.
        source: what was converted, as its user wrote it.
        path: folder of the model.
        losses: on the held-out text.
        delta: against the float model on the same windows; None for the float model.
        cost: what it computes and stores; None for the float model.
        seconds: of the conversion.
        peak_bytes: memory of the conversion.
        key: digest of the model, the windows and how they were scored; equal keys mean equal losses. "" where nobody
            asks for it again.
    """

    name: str
    source: str
    path: str
    losses: WindowLosses
    delta: PairedDifference | None = None
    cost: ConversionCost | None = None
    seconds: float | None = None
    peak_bytes: int | None = None
    key: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, perplexity and bits per byte included."""
        plain = {info.name: getattr(self, info.name) for info in dataclasses.fields(self)}
        parts = {name: None if plain[name] is None else plain[name].to_dict() for name in ("losses", "delta", "cost")}
        derived = {"perplexity": self.losses.perplexity, "bits_per_byte": self.losses.bits_per_byte}
        return plain | parts | derived

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ConversionRow:
        """Read what `to_dict` wrote; derived and unknown keys are ignored."""
        own = own_fields(cls, data)
        kinds = {"losses": WindowLosses, "delta": PairedDifference, "cost": ConversionCost}
        parts = {name: kind.from_dict(own[name]) for name, kind in kinds.items() if own.get(name) is not None}
        return cls(**(own | parts))


@dataclass(frozen=True, kw_only=True)
class ConversionComparison:
    """Models beside one of them, pair by pair over the same windows.

    Attributes:
        reference: name of the model the others are put beside.
        path: its folder.
        differences: by the folder of a model, bits per byte it costs more than the reference. The reference itself is
            not among them, nor what was scored on another text.
    """

    reference: str
    path: str
    differences: Mapping[str, PairedDifference]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        found = {path: difference.to_dict() for path, difference in self.differences.items()}
        return {"reference": self.reference, "path": self.path, "differences": found}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ConversionComparison:
        """Read what `to_dict` wrote; unknown keys are ignored."""
        found = {path: PairedDifference.from_dict(plain) for path, plain in data["differences"].items()}
        return cls(**{**own_fields(cls, data), "differences": found})
