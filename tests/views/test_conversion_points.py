"""Perplexity against operations: one point a model, inside the frame, the float model a line."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

from darkit_nb.views.conversion_points import AXES, operation_points
from tests.records.conversions import rows


def test_points_are_sorted_by_cost_and_carry_their_interval():
    chart = operation_points(rows())
    assert [point.name.split()[0] for point in chart.points] == ["rtn", "quarot", "spikellm-omniquant", "darkit"]
    best = chart.points[-1]
    assert best.low < best.perplexity < best.high
    assert chart.float_perplexity == rows()[0].losses.perplexity


@pytest.mark.parametrize("axis", list(AXES))
def test_every_point_is_drawn_inside_the_frame(axis):
    svg = operation_points(rows(), axis).to_svg(width=500, height=300)
    centres = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', svg)]
    assert len(centres) == 4
    assert all(64 <= x <= 476 and 34 <= y <= 252 for x, y in centres)
    assert AXES[axis] in svg.replace("&amp;", "&")


def test_plain_data_has_no_nan():
    alone = [dataclasses.replace(rows()[2], delta=None)]
    data = json.loads(json.dumps(operation_points(alone).to_dict(), allow_nan=False))
    assert data["points"][0]["low"] is None
    assert data["float_perplexity"] is None


def test_float_activations_have_no_place_on_an_axis_of_energy():
    row = rows()[1]
    weights_only = dataclasses.replace(row, cost=dataclasses.replace(row.cost, energy=None))
    assert operation_points([weights_only], "energy_pj").points == ()
    assert len(operation_points([weights_only], "ace").points) == 1
    assert "<circle" not in operation_points([], "ace").to_svg()
