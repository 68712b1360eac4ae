"""Energy records: interpolation rules, totals, JSON."""

from __future__ import annotations

import json

import pytest

from darkit_nb.records.energy import EnergyConstants, EnergyReport, FloatPart
from tests.records.reports import energy


def test_interpolated_costs_pass_through_the_published_points_and_grow():
    c = EnergyConstants()
    assert (c.integer_add(8), c.integer_multiply(8, 8)) == (c.int8_add, c.int8_multiply)
    assert c.integer_add(32) == pytest.approx(c.int32_add)
    assert c.integer_add(1) > 0
    assert c.integer_multiply(4, 2) == c.integer_multiply(2, 4) < c.integer_multiply(4, 4)


def test_readings_add_up_and_are_found_by_key():
    unary = energy().reading("unary")
    assert unary.compute_pj == 7.5e6
    assert unary.total_pj == 15e6
    with pytest.raises(KeyError):
        energy().reading("photons")


def test_a_multiply_accumulate_is_two_operations():
    assert FloatPart(name="x", origin="hooks", macs=2, additions=1, multiplications=1, special=1).operations == 7


def test_records_survive_json():
    assert EnergyReport.from_dict(json.loads(json.dumps(energy().to_dict()))) == energy()
