"""A training small enough for tests: two layers of width 32 on a corner of the standard library."""

from __future__ import annotations

from pathlib import Path

import pytest

from darkit_nb.config import RunConfig

TINY = {
    "model.overrides": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    },
    "data.seq_len": 32,
    "data.max_train_tokens": 60_000,
    "data.max_validation_tokens": 4_000,
    "train.batch_size": 4,
    "train.steps": 20,
    "train.warmup_steps": 2,
    "train.num_threads": 1,
    "evaluation.every": 10,
    "evaluation.windows": 8,
    "monitor.spikes_every": 10,
    "monitor.spike_tokens": 64,
    "checkpoint.every": 5,
}


@pytest.fixture
def tiny(tmp_path: Path) -> RunConfig:
    return RunConfig(runs_dir=str(tmp_path / "runs")).replace(TINY)
