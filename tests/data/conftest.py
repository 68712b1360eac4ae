"""Data settings for tests: what the data section of a run configuration holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Settings:
    dataset: str = "stdlib"
    subset: str | None = None
    tokenizer: str = "bytes"
    seq_len: int = 64
    validation_fraction: float = 0.05
    text_column: str | None = None
    streaming: bool = False
    max_train_tokens: int | None = None
    max_validation_tokens: int | None = None
    cache_dir: str | Path | None = None


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., Settings]:
    """Maker of settings whose cache is the test's own."""
    return partial(Settings, cache_dir=tmp_path / "cache")
