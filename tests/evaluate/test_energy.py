"""The energy account: every figure from counted work and stated constants, checked by hand on small layers."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch

from darkit_nb.evaluate import account, energy_report, measure_spikes
from darkit_nb.evaluate.energy import encoding_parts
from darkit_nb.records.activity import LayerActivity, SpikeReport
from darkit_nb.records.energy import EnergyConstants, EnergyReport, FloatPart, ModelFacts
from darkit_nb.spikify import spikify
from darkit_nb.trace.costs import accumulator_bits, integer_bits, level_bits
from tests.evaluate.models import Stack, decoder

C = EnergyConstants()


def layer(**changes: object) -> LayerActivity:
    """10 tokens through a 64 → 8 layer, every count 15 in one step."""
    plain = {
        "name": "one",
        "kind": "linear",
        "in_features": 64,
        "out_features": 8,
        "heads": 1,
        "tokens": 10,
        "num_levels": 16,
        "num_steps": 1,
        "coding": "rate",
        "ranges": "shared",
        "signed": False,
        "salient_fraction": 0.0,
        "weight_bits": 4,
        "spike_length_bits": 4.0,
        "code_bits": 4.0,
        "slots": 640,
        "active_slots": 640,
        "active_by_step": (640,),
        "silent": 0,
        "dead_features": 0,
        "unary_events": 640 * 15,
        "bitwise_events": 640 * 4,
        "lost_counts": 0,
        "histogram": (*[0] * 15, 640),
        "histogram_start": 0,
        "histogram_width": 1,
        "dense_macs": 5120,
        "step_macs": 5120,
        "effective_macs": 5120,
        "ac_unary": 5120 * 15,
        "ac_bitwise": 5120 * 4,
    }
    return LayerActivity(**plain | changes)


NOTHING = ModelFacts((), 10)


def test_the_published_constants_and_what_is_interpolated_between_them():
    assert C.float32_add + C.float32_multiply == pytest.approx(4.6)
    assert C.float16_add + C.float16_multiply == pytest.approx(1.5)
    assert C.int8_add + C.int8_multiply == pytest.approx(0.23)
    assert C.integer_add(8) == C.int8_add
    assert C.integer_add(32) == pytest.approx(C.int32_add)
    assert C.integer_multiply(8, 8) == C.int8_multiply
    assert C.integer_multiply(32, 32) == pytest.approx(C.int32_multiply, rel=0.05)
    assert C.integer_multiply(4, 4) == pytest.approx(0.05)


def test_operand_widths():
    assert level_bits(layer()) == 4
    assert level_bits(layer(num_levels=2)) == 1
    assert level_bits(layer(num_levels=2, signed=True)) == 2
    # 10 % of the features have 31 codes and take five bits, the others four
    assert integer_bits(layer(num_steps=2, salient_fraction=0.1)) == pytest.approx(4.1)
    assert integer_bits(layer(num_levels=2, num_steps=4, salient_fraction=1.0)) == 3
    # 64 · 15 · 15 = 14400 needs 14 bits and a sign
    assert accumulator_bits(layer()) == 15
    assert accumulator_bits(layer(heads=4, in_features=256)) == 15


def test_arithmetic_of_every_reading_by_hand():
    report = account(SpikeReport((layer(),), 10, 10), NOTHING)
    add = C.integer_add(15)
    macs = 512  # per token
    want = {
        "float32": macs * 4.6,
        "float16": macs * 1.5,
        "integer": macs * (0.2 * 16 / 64 + add),
        "steps": macs * (0.2 * 16 / 64 + add),
        "bitwise": macs * 4 * add,
        "unary": macs * 15 * add,
    }
    assert {reading.key: reading.layers_pj for reading in report.readings} == pytest.approx(want)
    assert report.ace == 512 * 4 * 4
    assert report.reading("unary").operations == 512 * 15


def test_memory_of_every_reading_by_hand():
    report = account(SpikeReport((layer(),), 10, 10), NOTHING, tokens_per_weight_load=10)

    def memory(bits: float, operations: float, wire: float, value: float) -> float:
        off_chip = 512 * bits / 8 / 10
        shared = 2 * 64 * wire / 8 + 2 * 8 * value / 8
        return off_chip * 162.5 + shared * 12.5 + operations * bits / 8 * 2.5

    want = {
        "float32": memory(32, 512, 32, 32),
        "float16": memory(16, 512, 16, 16),
        "integer": memory(4, 512, 4, 16),
        "steps": memory(4, 512, 4, 16),
        "bitwise": memory(4, 512 * 4, 4, 16),
        "unary": memory(4, 512 * 15, 15, 16),
    }
    assert {reading.key: reading.memory_pj for reading in report.readings} == pytest.approx(want)


def test_generating_token_by_token_pays_for_the_weights_each_time():
    spikes = SpikeReport((layer(),), 10, 10)
    scored, generated = (account(spikes, NOTHING, tokens_per_weight_load=load) for load in (10, 1))
    difference = generated.reading("unary").memory_pj - scored.reading("unary").memory_pj
    assert difference == pytest.approx(512 * 0.5 * 0.9 * 162.5)
    assert account(spikes, NOTHING).tokens_per_weight_load == 10


def test_encoding_is_charged_to_integers_and_spikes_but_not_to_floats():
    report = account(SpikeReport((layer(),), 10, 10), NOTHING)
    # a feature: six additions and a division; an output: a zero-point product, a scale and the weight scale
    encoding = 64 * (6 * 0.4 + 8 * 1.5) + 8 * (1.5 + 2 * 1.1)
    assert report.reading("float16").encoding_pj == report.reading("float32").encoding_pj == 0
    assert report.reading("integer").encoding_pj == pytest.approx(encoding)
    # spikes also update a membrane of four bits, twice a slot
    assert report.reading("steps").encoding_pj == pytest.approx(encoding + 64 * 2 * C.integer_add(4))
    assert report.reading("unary").encoding_pj == pytest.approx(encoding + 15 * 64 * 2 * C.integer_add(4))


@pytest.mark.parametrize(
    ("changes", "macs", "additions", "multiplications"),
    [
        ({}, 1, 0, 2),
        ({"num_steps": 2, "salient_fraction": 0.1}, 2, 1, 3),
        ({"weight_scales": 4}, 4, 3, 8),
        ({"weight_scales": 4, "num_steps": 2, "salient_fraction": 0.1}, 8, 7, 12),
        # salient features with a range and a weight scale of their own are apart once
        ({"weight_scales": 2, "weight_columns": True, "num_steps": 2, "salient_fraction": 0.1}, 2, 1, 4),
        ({"signed": True}, 0, 0, 2),
    ],
)
def test_every_sum_with_a_scale_of_its_own_is_brought_back(
    changes: dict[str, object], macs: int, additions: int, multiplications: int
):
    _, back = encoding_parts(SpikeReport((layer(**changes),), 10, 10))
    assert (back.macs, back.additions, back.multiplications) == (8 * macs, 8 * additions, 8 * multiplications)


def test_rotating_before_encoding_is_charged_to_integers_and_spikes_but_not_to_floats():
    rotation = FloatPart(name="online rotation", origin="hooks", additions=640.0, macs=64.0, multiplications=64.0)
    spikes = SpikeReport((layer(),), 10, 10)
    without, with_it = account(spikes, NOTHING), account(spikes, ModelFacts((), 10, (rotation,)))
    spent = 640 * C.float16_add + 64 * (C.float16_add + C.float16_multiply) + 64 * C.float16_multiply
    for before, after in zip(without.readings, with_it.readings, strict=True):
        dense = after.key.startswith("float")
        assert after.encoding_pj - before.encoding_pj == pytest.approx(0 if dense else spent)
        assert after.memory_pj - before.memory_pj == pytest.approx(0 if dense else 64 * 2 * C.local_pj_per_byte)
        assert (after.operations, after.layers_pj, after.float_pj) == (
            before.operations,
            before.layers_pj,
            before.float_pj,
        )
    assert rotation in with_it.float_parts


def test_groups_signs_and_radix_change_what_bringing_back_costs():
    def back(**changes: object) -> FloatPart:
        report = account(SpikeReport((layer(**changes),), 10, 10), NOTHING)
        return {part.name: part for part in report.float_parts}["scale and zero point"]

    assert (back().macs, back().additions, back().multiplications) == (8, 0, 16)
    two = back(num_steps=2, salient_fraction=0.1)
    assert (two.macs, two.additions, two.multiplications) == (16, 8, 24)
    assert back(signed=True).macs == 0
    assert back(weight_bits=16).multiplications == 8
    assert back(coding="radix", num_levels=3, num_steps=2, salient_fraction=1.0).macs == 16 + 8
    assert back(coding="radix", num_levels=4, num_steps=2, salient_fraction=1.0).macs == 16


def test_float_work_is_the_same_beside_integers_and_spikes_and_dearer_in_float32():
    part = FloatPart(name="head", origin="hooks", macs=100, additions=10, multiplications=20, special=3, weights=100)
    report = account(SpikeReport((layer(),), 10, 10), ModelFacts((part,), 10))
    expected = (100 + 8 * 3) * 1.5 + 10 * 0.4 + 20 * 1.1
    assert {r.key: r.float_pj for r in report.readings if r.key != "float32"} == dict.fromkeys(
        ("float16", "integer", "steps", "bitwise", "unary"), pytest.approx(expected)
    )
    assert report.reading("float32").float_pj == pytest.approx((100 + 8 * 3) * 4.6 + 10 * 0.9 + 20 * 3.7)
    assert part.operations == 200 + 10 + 20 + 3


def test_float_work_moves_its_weights_its_table_rows_and_its_operands():
    part = FloatPart(name="head", origin="hooks", macs=100, weights=640, lookups=24)
    spikes = SpikeReport((layer(),), 10, 10)
    with_part, without = (account(spikes, ModelFacts(parts, 10), tokens_per_weight_load=5) for parts in ((part,), ()))
    for key, value in (("float32", 4), ("float16", 2), ("unary", 2)):
        moved = with_part.reading(key).memory_pj - without.reading(key).memory_pj
        assert moved == pytest.approx(value * ((640 / 5 + 24) * 162.5 + 100 * 2.5))


def test_float_operands_make_float_operations():
    """Spiking keys meet float queries: an event is a float addition, and a multiplication is a float one."""
    report = account(SpikeReport((layer(kind="attention_key", weight_bits=16, heads=4),), 10, 10), NOTHING)
    assert report.reading("unary").layers_pj == pytest.approx(512 * 15 * 0.4)
    assert report.reading("integer").layers_pj == report.reading("float16").layers_pj == pytest.approx(512 * 1.5)


def test_binary_spikes_need_no_multiplier():
    binary = layer(num_levels=2, unary_events=640, bitwise_events=640, ac_unary=5120, ac_bitwise=5120)
    report = account(SpikeReport((binary,), 10, 10), NOTHING)
    assert report.reading("steps").layers_pj == report.reading("unary").layers_pj
    assert report.reading("steps").layers_pj < report.reading("integer").layers_pj


def test_a_real_model_shows_that_unit_events_are_not_cheaper_than_integers():
    torch.manual_seed(0)
    model = spikify(decoder())
    spikes = measure_spikes(model, [torch.randint(0, 50, (2, 16))])
    report = energy_report(model, spikes)
    unary, bitwise, integer = (report.reading(key) for key in ("unary", "bitwise", "integer"))
    assert unary.layers_pj > 3 * integer.layers_pj
    assert bitwise.layers_pj > integer.layers_pj
    assert integer.compute_pj < report.reading("float16").compute_pj < report.reading("float32").compute_pj
    for reading in report.readings:
        assert reading.total_pj == reading.layers_pj + reading.encoding_pj + reading.float_pj + reading.memory_pj
        assert math.isfinite(reading.total_pj)
    assert {part.name for part in report.float_parts} >= {"output head", "softmax", "spike encoding"}


def test_constants_can_be_replaced():
    free = dataclasses.replace(C, local_pj_per_byte=0.0, shared_pj_per_byte=0.0, dram_pj_per_byte=0.0)
    spikes = SpikeReport((layer(),), 10, 10)
    assert {reading.memory_pj for reading in account(spikes, NOTHING, constants=free).readings} == {0.0}


def test_reports_survive_json():
    model = spikify(Stack())
    spikes = measure_spikes(model, [torch.randint(0, 32, (2, 6))])
    energy = energy_report(model, spikes)
    assert SpikeReport.from_dict(json.loads(json.dumps(spikes.to_dict()))) == spikes
    assert EnergyReport.from_dict(json.loads(json.dumps(energy.to_dict()))) == energy
    assert json.loads(json.dumps(energy.to_dict()))["readings"][0]["total_pj"] == energy.readings[0].total_pj
