"""Windows do not overlap, leave the tail out and honour the mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkit_nb.data.windows import TokenWindows


@given(st.integers(0, 60), st.integers(2, 9))
def test_windows_are_consecutive(count: int, seq_len: int) -> None:
    tokens = np.arange(count, dtype=np.uint16)
    windows = TokenWindows(tokens, seq_len)
    assert len(windows) == count // seq_len
    seen = [int(i) for window in windows for i in window["input_ids"]]
    assert seen == list(range(count // seq_len * seq_len))


def test_masked_labels_and_windows_without_any() -> None:
    learnt = np.array([0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 1], dtype=np.bool_)
    windows = TokenWindows(np.arange(13, dtype=np.uint32), 4, learnt)
    # The second window is learnt at its first token only, which has nothing before it to be predicted from.
    assert [w["input_ids"].tolist() for w in windows] == [[0, 1, 2, 3], [8, 9, 10, 11]]
    assert [w["labels"].tolist() for w in windows] == [[-100, -100, 2, -100], [-100, -100, -100, 11]]
    assert windows[1]["labels"].dtype == np.int64


def test_indices() -> None:
    windows = TokenWindows(np.arange(20, dtype=np.uint16), 5)
    assert windows[-1]["input_ids"].tolist() == [15, 16, 17, 18, 19]
    with pytest.raises(IndexError, match="window 4 of 4"):
        windows[4]
    with pytest.raises(IndexError):
        windows[-5]
    window = windows[0]
    window["labels"][0] = 7
    assert window["input_ids"][0] == 0


@given(st.integers(1, 50), st.integers(0, 60))
def test_spread(count: int, wanted: int) -> None:
    chosen = TokenWindows(np.zeros(2 * count, dtype=np.uint16), 2).spread(wanted)
    assert len(chosen) == (min(wanted, count) or count)
    assert chosen == sorted(set(chosen))
    assert chosen[0] == 0
    assert chosen[-1] >= count - 1 - count // len(chosen)
