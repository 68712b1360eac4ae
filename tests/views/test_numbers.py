"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest

from darkit_nb.views.numbers import duration, energy, percent, short, significant, sparkline


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (7, "7"),
        (7.0, "7.00"),
        (983_040, "983 k"),
        (999_999, "1.00 M"),
        (8_166_000, "8.17 M"),
        (0.01234, "0.0123"),
        (-1500.0, "-1.50 k"),
        (3.2e12, "3.20 T"),
        (math.inf, "inf"),
        (math.nan, "nan"),
    ],
)
def test_short(value: float, text: str):
    assert short(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(12.94, "12.9"), (0.4716, "0.472"), (128.4, "128"), (9.999, "10.0"), (1e-12, "0.000000000")]
)
def test_significant(value: float, text: str):
    assert significant(value) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0.0 %"), (1e-9, "<0.1 %"), (0.5, "50.0 %"), (0.99999, ">99.9 %"), (1, "100.0 %")]
)
def test_percent(share: float, text: str):
    assert percent(share) == text


def test_sparkline():
    assert sparkline([0, 1, 8, 4]) == " ▁█▄"
    assert sparkline([0, 0]) == "  "
    assert sparkline([]) == ""
    assert len(sparkline(range(100))) <= 16
    assert sparkline([0] * 99 + [1])[-1] == "█"


@pytest.mark.parametrize(
    ("picojoules", "text"),
    [(0.5, "0.500 pJ"), (12_345_678, "12.3 µJ"), (3.2e9, "3.20 mJ"), (7e12, "7.00 J"), (0, "0 pJ")],
)
def test_energy_has_the_unit_that_suits_it(picojoules: float, text: str):
    assert energy(picojoules) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12.4, "12 s"), (65, "1 min 05 s"), (11_220, "3 h 07 min"), (90_000, "1 d 1 h"), (-3, "0 s")],
)
def test_durations_read_like_a_clock(seconds: float, text: str):
    assert duration(seconds) == text
