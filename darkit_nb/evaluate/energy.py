"""Energy of a token, on one footing for float, integer and spiking arithmetic. Pure functions of counted work.

Every reading does the same layers on the same tokens; only the arithmetic differs.

- float32, float16: every layer dense, everything else in the same precision.
- integer: the network a spiking one must beat. Dense products of the same weight bits with activations of the same
  number of codes, ⌈log₂ codes⌉ bits for each feature.
- steps: each non-zero spike is one low-bit multiply-accumulate.
- unary: a spike of level q is q additions.  bitwise: it is popcount(q) additions; shifts are wires and cost nothing.

What stays float is float16 beside integers and spikes. Rotations and other transforms that mix features while the model
runs are part of encoding: integers and spikes pay for them, float does without. Integer sums of all kinds go into
accumulators of the same width, the one that cannot overflow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from darkit_nb.evaluate.facts import model_facts
from darkit_nb.records.activity import LayerActivity, SpikeReport
from darkit_nb.records.energy import EnergyConstants, EnergyReading, EnergyReport, FloatPart, ModelFacts
from darkit_nb.trace.costs import (
    FLOAT_BITS,
    addition_pj,
    arithmetic_pj,
    float_mac,
    integer_bits,
    integer_mac_pj,
    layer_cap,
    level_bits,
    spike_mac_pj,
)


def energy_report(
    model: nn.Module,
    spikes: SpikeReport,
    *,
    constants: EnergyConstants | None = None,
    tokens_per_weight_load: int | None = None,
) -> EnergyReport:
    """Energy per token of `model`, whose spikes were counted by `measure_spikes`.

    Args:
        model: looked at for the work outside its spiking layers, with one short forward in evaluation mode.
        spikes: what its layers received.
        constants: energy of one operation; Horowitz's 45 nm table by default.
        tokens_per_weight_load: tokens that share one transfer of the weights: the whole window by default, as when
            text is scored; 1 as when it is generated one token at a time.
    """
    return account(
        spikes, model_facts(model, spikes.window), constants=constants, tokens_per_weight_load=tokens_per_weight_load
    )


def account(
    spikes: SpikeReport,
    facts: ModelFacts,
    *,
    constants: EnergyConstants | None = None,
    tokens_per_weight_load: int | None = None,
) -> EnergyReport:
    """The arithmetic of `energy_report`, from plain records."""
    c = constants or EnergyConstants()
    load = tokens_per_weight_load or spikes.window
    encoding = facts.mixing + encoding_parts(spikes)
    readings = tuple(_reading(way, spikes, facts, encoding, c, load) for way in _ways(spikes))
    return EnergyReport(
        readings=readings,
        float_parts=facts.parts + encoding,
        window=facts.window,
        tokens_per_weight_load=load,
        ace=spikes.ace / max(1, spikes.tokens),
        constants=c,
    )


@dataclass(frozen=True)
class _Way:
    """One way to compute the layers that spike.

    `operations` of a layer over all tokens; `cost` in pJ of one of them; `wire_bits` one input feature takes on its
    way; `neuron_updates` membrane updates over all tokens.
    """

    key: str
    name: str
    operations: Callable[[LayerActivity], float]
    cost: Callable[[LayerActivity, EnergyConstants], float]
    wire_bits: Callable[[LayerActivity], float]
    neuron_updates: Callable[[LayerActivity], float]
    float_bits: int = FLOAT_BITS
    encodes: bool = True


def _ways(spikes: SpikeReport) -> tuple[_Way, ...]:
    def none(layer: LayerActivity) -> float:
        return 0.0

    bits = {layer.weight_bits for layer in spikes.layers if layer.kind == "linear"}
    weights = f"W{next(iter(bits))}" if len(bits) == 1 else "mixed weights"
    features = sum(layer.in_features for layer in spikes.layers)
    width = sum(integer_bits(layer) * layer.in_features for layer in spikes.layers) / max(1, features)

    def dense(layer: LayerActivity) -> float:
        return layer.dense_macs

    def dense_float(bits: int) -> _Way:
        return _Way(
            f"float{bits}",
            f"dense float{bits}",
            dense,
            lambda layer, c: float_mac(c, bits),
            lambda layer: bits,
            none,
            bits,
            encodes=False,
        )

    return (
        dense_float(32),
        dense_float(16),
        _Way("integer", f"dense integers, {weights}A{width:.3g}", dense, integer_mac_pj, integer_bits, none),
        _Way(
            "steps",
            "spikes as low-bit MACs",
            lambda layer: layer.effective_macs,
            spike_mac_pj,
            lambda layer: layer.mean_steps * level_bits(layer),
            lambda layer: layer.slots,
        ),
        _Way(
            "bitwise",
            "spikes as set bits",
            lambda layer: layer.ac_bitwise,
            addition_pj,
            lambda layer: layer.mean_steps * level_bits(layer),
            lambda layer: layer.slots,
        ),
        _Way(
            "unary",
            "spikes as unit events",
            lambda layer: layer.ac_unary,
            addition_pj,
            lambda layer: layer.mean_steps * (layer.num_levels - 1) * (2 if layer.signed else 1),
            lambda layer: layer.slots * (layer.num_levels - 1),
        ),
    )


def _reading(
    way: _Way,
    spikes: SpikeReport,
    facts: ModelFacts,
    encoding: tuple[FloatPart, ...],
    c: EnergyConstants,
    load: int,
) -> EnergyReading:
    tokens = max(1, spikes.tokens)
    layers = spikes.layers
    membrane = sum(way.neuron_updates(layer) * 2 * c.integer_add(math.log2(layer_cap(layer) + 1)) for layer in layers)
    encoded = arithmetic_pj(encoding, c, way.float_bits) + membrane / tokens if way.encodes else 0.0
    return EnergyReading(
        key=way.key,
        name=way.name,
        operations=sum(way.operations(layer) for layer in layers) / tokens,
        layers_pj=sum(way.operations(layer) * way.cost(layer, c) for layer in layers) / tokens,
        encoding_pj=encoded,
        float_pj=arithmetic_pj(facts.parts, c, way.float_bits),
        memory_pj=_memory(way, spikes, facts.parts + (facts.mixing if way.encodes else ()), c, load),
    )


def encoding_parts(spikes: SpikeReport) -> tuple[FloatPart, ...]:
    """What encoding costs in float: finding range and codes, and bringing integer sums back, per token.

    Encoding one feature: minimum, maximum, division, rounding, zero point, clamping at both ends. Bringing back one
    output: its features have sums of their own where they have a range or a weight scale of their own; each sum has a
    zero-point product (none when signed) and the scale of its range, each weight scale is one product more, and sums
    are added. Radix coding with Q no power of two also weighs the sum of each step.
    """
    tokens = max(1, spikes.tokens)
    encode = additions = macs = multiplications = 0.0
    for layer in spikes.layers:
        encode += layer.tokens * layer.in_features / tokens
        # Sums that have to be brought back: outputs, or (query, key) pairs.
        outputs = layer.dense_macs / (layer.in_features // layer.heads) / tokens
        sums = _sums(layer)
        shifts = layer.coding != "radix" or layer.num_levels & (layer.num_levels - 1) == 0
        macs += outputs * ((0 if layer.signed else sums) + (0 if shifts else layer.num_steps - 1))
        additions += outputs * (sums - 1)
        multiplications += outputs * (sums + (layer.weight_scales if layer.weight_bits < FLOAT_BITS else 0))
    return (
        FloatPart(name="spike encoding", origin="spikes", additions=6 * encode, special=encode),
        FloatPart(
            name="scale and zero point",
            origin="spikes",
            macs=macs,
            additions=additions,
            multiplications=multiplications,
        ),
    )


def _sums(layer: LayerActivity) -> int:
    """Integer sums of one output that are brought back apart."""
    ranges = 2 if layer.num_steps > 1 else 1
    return max(ranges, layer.weight_scales) if layer.weight_columns else ranges * layer.weight_scales


# -- memory --------------------------------------------------------------------------------------------------------


def _memory(way: _Way, spikes: SpikeReport, parts: tuple[FloatPart, ...], c: EnergyConstants, load: int) -> float:
    """Picojoule per token for moving data.

    Off-chip: every weight once per `load` tokens, and the table rows looked up. On-chip, shared: inputs and outputs of
    every layer written once and read once; keys and values are kept there too. Local: one operand per operation; the
    accumulator is a register.
    """
    tokens = max(1, spikes.tokens)
    float_bytes = way.float_bits / 8
    off_chip = sum(part.weights / load + part.lookups for part in parts) * float_bytes
    shared = 0.0
    local = sum(part.macs for part in parts) * float_bytes
    for layer in spikes.layers:
        operand_bytes = layer.weight_bits / 8 if way.encodes else float_bytes
        if layer.kind == "linear":
            off_chip += layer.in_features * layer.out_features * operand_bytes / load
            shared += 2 * layer.tokens * layer.out_features * float_bytes / tokens
        shared += 2 * layer.tokens * layer.in_features * way.wire_bits(layer) / 8 / tokens
        local += way.operations(layer) * operand_bytes / tokens
    return off_chip * c.dram_pj_per_byte + shared * c.shared_pj_per_byte + local * c.local_pj_per_byte
