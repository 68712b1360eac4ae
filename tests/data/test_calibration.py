"""Calibration segments: really in the text, different, the same for a seed, and refused where the text is short."""

from __future__ import annotations

import numpy as np
import pytest

from darkit_nb.data.calibration import calibration_segments
from darkit_nb.errors import DataError


def test_segments_are_stretches_of_the_text_each_from_its_own_place():
    tokens = np.arange(1000, dtype=np.uint16)
    found = calibration_segments(tokens, samples=20, length=16, seed=3)
    assert found.shape == (20, 16)
    assert found.dtype == np.int64
    assert (np.diff(found, axis=1) == 1).all()
    assert len(set(found[:, 0])) == 20


def test_a_seed_draws_the_same_and_another_one_others():
    tokens = np.arange(1000, dtype=np.uint16)
    one, same, other = (calibration_segments(tokens, samples=4, length=8, seed=seed) for seed in (0, 0, 1))
    assert (one == same).all()
    assert (one != other).any()


def test_too_short_a_text_is_refused_and_the_shortest_one_is_not():
    assert calibration_segments(np.arange(10), samples=3, length=8, seed=0).shape == (3, 8)
    with pytest.raises(DataError, match="too short") as caught:
        calibration_segments(np.arange(9), samples=3, length=8, seed=0)
    assert "at least 10 tokens" in str(caught.value)
