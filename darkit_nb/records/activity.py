"""What was counted while a spiking model ran: exact integers per layer, and the shares that follow from them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from darkit_nb.records.spike_spec import Coding, Ranges

LayerKind = Literal["linear", "attention_key", "attention_value", "neuron"]


@dataclass(frozen=True, kw_only=True)
class LayerActivity:
    """The spikes one layer received, and the operations they stand for. Counts are totals over all `tokens`.

    A *slot* is one (token, feature, step): a feature owns one slot per token, a salient feature `num_steps`.

    Attributes:
        name: dotted name of the layer in the model.
        kind: "linear", the key or value side of the attention product, or a neuron whose consumer is not known.
        in_features: features encoded per token.
        out_features: products each feature takes part in per token; for attention, the query heads that share a key or
            value head (each of them once per later token, which only the totals know); 0 for a neuron by itself.
        heads: key and value heads, each with a range of its own; 1 for a linear layer.
        tokens: tokens encoded.
        num_levels: Q, levels of one spike.
        num_steps: S, steps of a salient feature.
        coding: rate, radix or paper.
        ranges: shared or own range of salient features.
        signed: whether spikes carry a sign.
        salient_fraction: share of features with all S steps.
        weight_bits: bits of what a spike meets: weights of a linear layer; 16 stands for float, which queries and
            attention probabilities are too.
        spike_length_bits: mean bits on the wire of one feature, ⟨S⟩·log₂Q.
        code_bits: mean information of one feature.
        slots: all slots.
        active_slots: slots that hold a spike.
        active_by_step: the same, one number per step.
        silent: (token, feature) pairs without any spike.
        dead_features: features that never fired.
        unary_events: unit spikes sent, Σ of all spike levels.
        bitwise_events: set bits sent, Σ popcount of all spike levels.
        lost_counts: counts that S steps could not carry; non-zero only for paper codes.
        histogram: (token, feature) pairs by count, from `histogram_start`, `histogram_width` counts to a bin.
        histogram_start: count of the first bin; negative when signed.
        histogram_width: counts per bin.
        dense_macs: multiply-accumulates of the same layer in float.
        step_macs: low-bit multiply-accumulates, one per slot and product.
        effective_macs: the same, silent slots skipped.
        ac_unary: additions when a spike of level q is q unit spikes.
        ac_bitwise: shifted additions when it is its set bits.
        weight_scales: scales of weights that one output has: of its groups of features, planes or salient weights.
        weight_columns: whether those are of different features named one by one, as the salient ones, whose sums are
            apart already where they have a range of their own.
    """

    name: str
    kind: LayerKind
    in_features: int
    out_features: int
    heads: int
    tokens: int
    num_levels: int
    num_steps: int
    coding: Coding
    ranges: Ranges
    signed: bool
    salient_fraction: float
    weight_bits: int
    spike_length_bits: float
    code_bits: float
    slots: int
    active_slots: int
    active_by_step: tuple[int, ...]
    silent: int
    dead_features: int
    unary_events: int
    bitwise_events: int
    lost_counts: int
    histogram: tuple[int, ...] = field(repr=False)
    histogram_start: int
    histogram_width: int
    dense_macs: int
    step_macs: int
    effective_macs: int
    ac_unary: int
    ac_bitwise: int
    weight_scales: int = 1
    weight_columns: bool = False

    @property
    def firing_rate(self) -> float:
        """Share of slots that hold a spike."""
        return self.active_slots / self.slots

    @property
    def silent_share(self) -> float:
        """Share of (token, feature) pairs that emit nothing."""
        return self.silent / (self.tokens * self.in_features)

    @property
    def mean_steps(self) -> float:
        """⟨S⟩, slots per token and feature."""
        return self.slots / (self.tokens * self.in_features)

    @property
    def effective_steps(self) -> float:
        """Slots that hold a spike, per token and feature."""
        return self.active_slots / (self.tokens * self.in_features)

    @property
    def mean_count(self) -> float:
        """Unit spikes per token and feature."""
        return self.unary_events / (self.tokens * self.in_features)

    @property
    def ace(self) -> float:
        """Arithmetic computation effort: step MACs × weight bits × bits of one spike, in bit operations."""
        return self.step_macs * self.weight_bits * math.log2(self.num_levels)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `firing_rate`, `silent_share`, `mean_steps`, `effective_steps` and `ace` included."""
        derived = ("firing_rate", "silent_share", "mean_steps", "effective_steps", "ace")
        return {**dataclasses.asdict(self), **{name: getattr(self, name) for name in derived}}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LayerActivity:
        """The record `to_dict` described; derived and unknown keys are ignored, so that newer files stay readable."""
        own: dict[str, Any] = {info.name: data[info.name] for info in dataclasses.fields(cls)}
        own["histogram"], own["active_by_step"] = tuple(own["histogram"]), tuple(own["active_by_step"])
        return cls(**own)


@dataclass(frozen=True)
class SpikeReport:
    """Spikes of all layers over the same tokens.

    Attributes:
        layers: in the order of the model; layers that saw no token are left out.
        tokens: tokens given to the model.
        window: tokens per sequence.
    """

    layers: tuple[LayerActivity, ...]
    tokens: int
    window: int

    def total(self, count: str) -> int:
        """Sum over layers of an integer attribute, such as `"ac_unary"`."""
        return sum(getattr(layer, count) for layer in self.layers)

    @property
    def firing_rate(self) -> float:
        """Share of all slots that hold a spike; 0 without layers."""
        return self.total("active_slots") / max(1, self.total("slots"))

    @property
    def silent_share(self) -> float:
        """Share of all (token, feature) pairs that emit nothing; 0 without layers."""
        return self.total("silent") / max(1, sum(layer.tokens * layer.in_features for layer in self.layers))

    @property
    def ace(self) -> float:
        """Arithmetic computation effort of all layers, in bit operations."""
        return sum(layer.ace for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, with the totals a chart asks for."""
        totals = ("dense_macs", "step_macs", "effective_macs", "ac_unary", "ac_bitwise", "unary_events", "lost_counts")
        return {
            "layers": [layer.to_dict() for layer in self.layers],
            "tokens": self.tokens,
            "window": self.window,
            "firing_rate": self.firing_rate,
            "silent_share": self.silent_share,
            "ace": self.ace,
            **{name: self.total(name) for name in totals},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SpikeReport:
        """The record `to_dict` described."""
        layers = tuple(LayerActivity.from_dict(layer) for layer in data["layers"])
        return cls(layers, int(data["tokens"]), int(data["window"]))
