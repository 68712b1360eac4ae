"""Fewer points keep what an eye would see; the moving average is its own recurrence."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from darkit_nb.views.downsample import MAX_POINTS, Sampled, Smoothed, downsample, smooth, visible

SERIES = arrays.arrays(np.float64, st.integers(0, 400), elements=st.floats(-1e6, 1e6) | st.just(math.nan))


@given(SERIES, st.integers(8, 120))
def test_extremes_ends_and_gaps_stay(y: np.ndarray, points: int) -> None:
    chosen = downsample(y, points)
    assert len(chosen) <= points
    assert np.all(np.diff(chosen) > 0), "in the order of the steps, each once"
    if not len(y):
        return
    assert (chosen[0], chosen[-1]) == (0, len(y) - 1)
    finite = y[np.isfinite(y)]
    if len(finite):
        assert np.nanmin(y[chosen]) == finite.min()
        assert np.nanmax(y[chosen]) == finite.max()
    assert np.isnan(y[chosen]).any() == np.isnan(y).any()


@given(SERIES, st.integers(8, 120), st.integers(1, 90))
def test_a_growing_series_is_sampled_as_one_given_at_once(y: np.ndarray, points: int, bite: int) -> None:
    growing = Sampled(points)
    for end in [*range(0, len(y), bite), len(y)]:
        assert growing.update(y[:end]).tolist() == downsample(y[:end], points).tolist()
    assert growing.update(y[: len(y) // 2]).tolist() == downsample(y[: len(y) // 2], points).tolist()


def test_what_was_drawn_stays_while_a_series_grows() -> None:
    y = np.random.default_rng(0).normal(size=20_000)
    growing = Sampled()
    before = set(growing.update(y[:17_000]).tolist())
    after = set(growing.update(y[:17_400]).tolist())
    assert len(before - after) <= 3


def test_a_single_spike_and_a_gap_in_a_million_are_seen() -> None:
    y = np.sin(np.arange(1_000_000) / 5e4)
    y[654_321] = 40.0
    y[200_000:200_020] = math.nan
    y[777_777] = math.inf
    chosen = downsample(y)
    assert len(chosen) <= MAX_POINTS
    assert 654_321 in chosen
    assert np.isnan(y[chosen]).any()
    assert 777_777 in chosen


@pytest.mark.parametrize("gap", [False, True])
def test_a_million_points_take_about_a_millisecond(gap: bool) -> None:
    y = np.random.default_rng(0).normal(size=1_000_000)
    if gap:
        y[5] = math.nan
    seconds = []
    for _ in range(9):
        start = time.thread_time()
        downsample(y)
        seconds.append(time.thread_time() - start)
    assert min(seconds) < (0.04 if gap else 0.006)


def test_what_is_visible_reaches_one_point_beyond() -> None:
    x = np.array([0, 10, 20, 30, 40])
    assert x[visible(x, 15, 25)].tolist() == [10, 20, 30]
    assert x[visible(x, 20, 20)].tolist() == [10, 20, 30]
    assert x[visible(x, None, None)].tolist() == x.tolist()
    assert x[visible(x, 50, 60)].tolist() == [40]
    assert x[visible(x, -9, -5)].tolist() == [0]
    assert x[:0][visible(x[:0], 1, 2)].tolist() == []


def recurrence(y: np.ndarray, weight: float) -> list[float]:
    """The definition, one value after the other."""
    total = norm = 0.0
    seen = []
    for value in y:
        if not math.isfinite(value):
            seen.append(math.nan)
            continue
        total, norm = weight * total + value, weight * norm + 1
        seen.append(total / norm)
    return seen


@given(SERIES, st.floats(0, 0.999), st.integers(1, 90))
def test_smoothing_is_the_recurrence_however_it_is_fed(y: np.ndarray, weight: float, bite: int) -> None:
    expected = recurrence(y, weight)
    np.testing.assert_allclose(smooth(y, weight), expected, rtol=1e-7, atol=1e-6)
    growing = Smoothed(weight)
    for end in range(0, len(y) + bite, bite):
        found = growing.update(y[:end])
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-6)


def test_a_constant_stays_and_a_shorter_series_starts_anew() -> None:
    average = Smoothed(0.9)
    np.testing.assert_allclose(average.update(np.full(500, 3.0)), 3.0)
    np.testing.assert_allclose(average.update(np.full(5, 7.0)), 7.0)


def test_one_value_more_after_a_million_costs_nothing() -> None:
    y = np.random.default_rng(0).normal(size=1_000_040)
    average = Smoothed(0.98)
    start = time.process_time()
    average.update(y[:1_000_000])
    assert time.process_time() - start < 0.5
    seconds = []
    for end in range(1_000_001, 1_000_040):
        start = time.process_time()
        average.update(y[:end])
        seconds.append(time.process_time() - start)
    assert sorted(seconds)[len(seconds) // 2] < 0.001
