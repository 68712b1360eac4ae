"""The whole way from settings to windows."""

from __future__ import annotations

from typing import Any

import numpy as np

from darkit_nb.data import prepare


def test_stdlib_bytes_become_windows(settings: Any) -> None:
    prepared = prepare(settings(max_train_tokens=100_000, seq_len=128), seed=0)
    window = prepared.train[3]
    assert len(prepared.train) == 100_000 // 128
    assert window["input_ids"].dtype == np.int64
    assert window["input_ids"].shape == (128,)
    assert np.array_equal(window["labels"], window["input_ids"])
    assert prepared.vocab_size == 261
    assert prepared.eos_id == 256
    assert 0.99 < prepared.bytes_per_token < 1.0
