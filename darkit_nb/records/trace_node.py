"""One module of an opened model: what it computes, holds, costs and fires."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from darkit_nb.records.plain import own_fields
from darkit_nb.records.spike_spec import Coding

NodeKind = Literal[
    "model",
    "block",
    "container",
    "linear",
    "convolution",
    "recurrent",
    "norm",
    "embedding",
    "activation",
    "attention",
    "dropout",
    "spiking",
    "neuron",
    "other",
]


@dataclass(frozen=True)
class TensorSpec:
    """A tensor that passed, without its values.

    Attributes:
        name: argument or field it came under; "" for a lone result.
        shape: sizes.
        dtype: as in `float32`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"[{', '.join(map(str, self.shape))}] {self.dtype}"


@dataclass(frozen=True, kw_only=True)
class SpikeFacts:
    """How a module fires: its code, and what was counted. Counts are 0 where nothing could be, as on the meta device.

    Attributes:
        num_levels: Q, levels of one spike.
        num_steps: S, spike steps.
        coding: rate, radix or paper.
        signed: whether spikes carry a sign.
        weight_bits: bits of the weights that spikes meet; 16 stands for float, None for a neuron by itself.
        salient_fraction: share of features with all S steps; None where it is not known.
        slots: (token, feature, step) triples.
        active_slots: those that hold a spike.
        pairs: (token, feature) pairs.
        silent: those without any spike.
        unary_events: unit spikes sent.
        dense_macs: multiply-accumulates of the same layer in float.
        effective_macs: low-bit multiply-accumulates, silent slots skipped.
        ac_unary: additions when a spike of level q is q unit spikes.
        ac_bitwise: shifted additions when it is its set bits.
        histogram: (token, feature) pairs by count, from `histogram_start`, `histogram_width` counts to a bin.
        histogram_start: count of the first bin.
        histogram_width: counts per bin.
    """

    num_levels: int
    num_steps: int
    coding: Coding
    signed: bool = False
    weight_bits: int | None = None
    salient_fraction: float | None = None
    slots: int = 0
    active_slots: int = 0
    pairs: int = 0
    silent: int = 0
    unary_events: int = 0
    dense_macs: int = 0
    effective_macs: int = 0
    ac_unary: int = 0
    ac_bitwise: int = 0
    histogram: tuple[int, ...] = field(default=(), repr=False)
    histogram_start: int = 0
    histogram_width: int = 1

    @property
    def firing_rate(self) -> float | None:
        """Share of slots that hold a spike; None where nothing was counted."""
        return self.active_slots / self.slots if self.slots else None

    @property
    def silent_share(self) -> float | None:
        """Share of (token, feature) pairs that emit nothing; None where nothing was counted."""
        return self.silent / self.pairs if self.pairs else None


@dataclass(frozen=True, kw_only=True)
class TraceNode:
    """One module. `own_…` is of the module itself, without its submodules; the same word without it includes them.

    Attributes:
        path: dotted name in the model, "" for the model itself.
        class_name: name of its class.
        module: Python module of its class.
        kind: what sort of thing it is.
        calls: how often it was called in one forward of the model; 0 for containers, and for what never ran.
        calls_per_parent: calls in one call of the module around it: spike steps, or uses of shared layers. 0 where the
            calls do not divide evenly.
        aliases: further names in the model of the very same module.
        inputs: tensors of its first call.
        outputs: what that call returned.
        shapes_vary: later calls saw other shapes.
        stateful: keeps tensors from one call to the next, as a membrane.
        file, line, end_line: source of the class; "" and 0 where it is not known.
        forward_line: first line of its `forward`.
        signature: of `forward`, without `self`.
        own_parameters, parameters: numbers, of a tensor held twice once.
        trainable: those of `parameters` that take a gradient.
        tied: those of `own_parameters` that another module before it holds as well.
        parameter_bytes, buffer_bytes: of the whole subtree.
        own_flops, flops: floating point operations of products, two for a multiply-accumulate, for all calls.
        own_energy_pj, energy_pj: arithmetic in picojoule: additions of unit spikes where it spikes, float16 elsewhere;
            without memory, encoding and what no product does. None where spikes were not counted.
        spikes: how it fires, if it does.
        seconds: wall clock of all calls together, submodules included; None unless asked for.
        memory_bytes: most memory allocated during a call beyond what was there before; None unless asked for.
        problem: message of the error that it raised.
    """

    path: str
    class_name: str
    module: str
    kind: NodeKind
    calls: int = 0
    calls_per_parent: int = 0
    aliases: tuple[str, ...] = ()
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    shapes_vary: bool = False
    stateful: bool = False
    file: str = ""
    line: int = 0
    end_line: int = 0
    forward_line: int = 0
    signature: str = ""
    own_parameters: int = 0
    parameters: int = 0
    trainable: int = 0
    tied: int = 0
    parameter_bytes: int = 0
    buffer_bytes: int = 0
    own_flops: int = 0
    flops: int = 0
    own_energy_pj: float | None = None
    energy_pj: float | None = None
    spikes: SpikeFacts | None = None
    seconds: float | None = None
    memory_bytes: int | None = None
    problem: str | None = None

    @property
    def name(self) -> str:
        """Last part of the path; the class name for the model itself."""
        return self.path.rpartition(".")[2] or self.class_name

    @property
    def depth(self) -> int:
        """Levels below the model, which is at 0."""
        return self.path.count(".") + 1 if self.path else 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates, half of the floating point operations."""
        return self.flops // 2

    @property
    def own_macs(self) -> int:
        """Multiply-accumulates of the module itself."""
        return self.own_flops // 2

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what has its default value is left out."""
        plain = {info.name: getattr(self, info.name) for info in dataclasses.fields(self)}
        kept = {name: value for name, value in plain.items() if value != _DEFAULTS.get(name, _NEVER)}
        for name in ("inputs", "outputs"):
            if name in kept:
                kept[name] = [[spec.name, list(spec.shape), spec.dtype] for spec in kept[name]]
        if self.spikes is not None:
            kept["spikes"] = dataclasses.asdict(self.spikes)
        return kept

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TraceNode:
        """The record `to_dict` described; unknown keys are ignored, so that newer files stay readable."""
        own = own_fields(cls, data)
        for name in ("inputs", "outputs"):
            own[name] = tuple(TensorSpec(key, tuple(shape), dtype) for key, shape, dtype in own.get(name, ()))
        own["aliases"] = tuple(own.get("aliases", ()))
        if own.get("spikes") is not None:
            spikes = own_fields(SpikeFacts, own["spikes"])
            spikes["histogram"] = tuple(spikes.get("histogram", ()))
            own["spikes"] = SpikeFacts(**spikes)
        return cls(**own)


_NEVER = object()
_DEFAULTS = {info.name: info.default for info in dataclasses.fields(TraceNode)}
