"""What one operation of a layer costs, and how many bits its operands have."""

from __future__ import annotations

import math
from collections.abc import Iterable

from darkit_nb.records.activity import LayerActivity
from darkit_nb.records.energy import EnergyConstants, FloatPart
from darkit_nb.records.spike_spec import code_cap

FLOAT_BITS = 16
"""Weights of this many bits are float, and so is everything beside integers and spikes."""


def float_add(c: EnergyConstants, bits: int) -> float:
    """Addition in float16 or float32."""
    return c.float32_add if bits == 32 else c.float16_add


def float_multiply(c: EnergyConstants, bits: int) -> float:
    """Product in float16 or float32."""
    return c.float32_multiply if bits == 32 else c.float16_multiply


def float_mac(c: EnergyConstants, bits: int) -> float:
    """Multiply-accumulate in float16 or float32."""
    return float_add(c, bits) + float_multiply(c, bits)


def arithmetic_pj(parts: Iterable[FloatPart], c: EnergyConstants, bits: int) -> float:
    """Float work in float16 or float32."""
    add, multiply = float_add(c, bits), float_multiply(c, bits)
    return sum(
        (part.macs + c.special * part.special) * (add + multiply)
        + part.additions * add
        + part.multiplications * multiply
        for part in parts
    )


def layer_cap(layer: LayerActivity) -> int:
    """Largest code of a layer."""
    return code_cap(layer.num_levels, layer.num_steps, layer.coding)


def level_bits(layer: LayerActivity) -> int:
    """Whole bits of one spike, its sign included."""
    return _whole_bits(layer.num_levels - 1, layer.signed)


def integer_bits(layer: LayerActivity) -> float:
    """Mean bits of a feature in an integer network with the same number of codes: whole bits for each feature."""
    p = layer.salient_fraction
    return (1 - p) * level_bits(layer) + p * _whole_bits(layer_cap(layer), layer.signed)


def _whole_bits(cap: int, signed: bool) -> int:
    return math.ceil(math.log2(2 * cap + 1 if signed else cap + 1))


def accumulator_bits(layer: LayerActivity) -> int:
    """Bits of a sum over all features of one head that cannot overflow, sign included."""
    largest = layer.in_features // layer.heads * layer_cap(layer) * (2**layer.weight_bits - 1)
    return math.ceil(math.log2(largest + 1)) + 1


def addition_pj(layer: LayerActivity, c: EnergyConstants) -> float:
    """Adding one weight to a layer's accumulator."""
    return c.float16_add if layer.weight_bits >= FLOAT_BITS else c.integer_add(accumulator_bits(layer))


def integer_mac_pj(layer: LayerActivity, c: EnergyConstants) -> float:
    """Product of a weight and an integer activation; of a float and an integer, as in float16, for want of a figure."""
    if layer.weight_bits >= FLOAT_BITS:
        return float_mac(c, FLOAT_BITS)
    return c.integer_multiply(layer.weight_bits, integer_bits(layer)) + addition_pj(layer, c)


def spike_mac_pj(layer: LayerActivity, c: EnergyConstants) -> float:
    """One non-zero spike with one weight. A binary or ternary spike selects and needs no multiplier."""
    if layer.num_levels == 2:
        return addition_pj(layer, c)
    if layer.weight_bits >= FLOAT_BITS:
        return float_mac(c, FLOAT_BITS)
    return c.integer_multiply(layer.weight_bits, level_bits(layer)) + addition_pj(layer, c)
