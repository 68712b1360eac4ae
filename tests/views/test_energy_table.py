"""The energy table compares on one footing, states its grounds, and does not flatter."""

from __future__ import annotations

import dataclasses

from darkit_nb.records.energy import EnergyConstants
from darkit_nb.views import energy_table, energy_view
from darkit_nb.views.energy_table import verdict
from darkit_nb.views.table import columns_of
from tests.records.reports import energy


def test_every_reading_has_a_row_with_its_ratio_to_dense_float16():
    view = energy_view(energy())
    assert [row[0] for row in view.rows] == [
        f"how {key}" for key in ("float32", "float16", "integer", "steps", "bitwise", "unary")
    ]
    assert "µJ" in view.title
    assert [row[-1] for row in view.rows] == ["2.00", "1.00", "0.400", "0.500", "0.600", "1.50"]
    assert view.rows[-1][2:6] == ("7.50", "0", "7.50", "15.0")


def test_the_verdict_says_when_spiking_costs_more():
    unary, bitwise = verdict(energy())
    assert "1.50 × the energy of dense float16" in unary
    assert "3.75 × the energy of the equal-bit integer network" in unary
    assert "0.600 × the energy of dense float16" in bitwise
    same = energy(readings=tuple(dataclasses.replace(r, layers_pj=1, memory_pj=1) for r in energy().readings))
    assert "the same energy as dense float16" in verdict(same)[0]


def test_constants_and_assumptions_are_stated_as_used():
    text = energy_table(energy(constants=EnergyConstants(float16_add=0.41, special=5)), width=400)
    for stated in ("Horowitz 2014", "0.41, 1.1", "5 multiply-adds", "Interpolated", "off-chip 162.5", "256 tokens"):
        assert stated in text


def test_what_stays_float_is_named_with_its_origin():
    text = energy_table(energy(), width=400).replace("\N{NO-BREAK SPACE}", " ")
    assert "output head 66.0 k" in text
    assert "softmax† 12" in text
    assert "spike encoding‡ 7" in text
    assert "embeddings (lookup)" in text


def test_the_unit_follows_the_size():
    for factor, unit in ((1e-7, "pJ"), (1e-3, "nJ"), (1e3, "mJ")):
        scaled = [dataclasses.replace(r, layers_pj=r.layers_pj * factor, memory_pj=0) for r in energy().readings]
        assert f" {unit}," in energy_view(energy(readings=tuple(scaled))).title


def test_it_fits_eighty_columns():
    assert max(map(columns_of, energy_table(energy()).splitlines())) <= 80
