"""Shares follow from counts; records survive JSON and newer files."""

from __future__ import annotations

import dataclasses
import json

import pytest

from darkit_nb.records.activity import LayerActivity, SpikeReport
from tests.records.reports import layer, report


def test_shares_follow_from_the_counts():
    one = layer()
    assert one.firing_rate == 33 / 44
    assert one.silent_share == 9 / 40
    assert one.mean_steps == 1.1
    assert one.effective_steps == 33 / 40
    assert one.mean_count == 5
    assert one.ace == 352 * 4 * 4


def test_totals_are_sums_and_weigh_layers_by_their_size():
    small = layer("b", slots=4, active_slots=4, tokens=1, in_features=4, silent=0)
    both = report(layer(), small)
    assert both.firing_rate == 37 / 48
    assert both.silent_share == 9 / 44
    assert both.total("ac_unary") == 3200
    assert both.ace == 2 * 352 * 16


def test_an_empty_report_has_rates_of_zero():
    empty = SpikeReport((), 0, 0)
    assert (empty.firing_rate, empty.silent_share, empty.ace) == (0, 0, 0)


def test_records_survive_json():
    plain = json.loads(json.dumps(report().to_dict()))
    assert SpikeReport.from_dict(plain) == report()
    assert plain["layers"][0]["firing_rate"] == 0.75
    assert plain["ac_bitwise"] == 480


def test_a_newer_file_is_read_and_an_incomplete_one_is_not():
    plain = layer().to_dict()
    assert LayerActivity.from_dict(plain | {"from_the_future": 1}) == layer()
    del plain["slots"]
    with pytest.raises(KeyError, match="slots"):
        LayerActivity.from_dict(plain)


def test_records_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        layer().slots = 0  # type: ignore[misc]
