"""A tiny float decoder, in memory and in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from tests.convert.decoders import decoder


@pytest.fixture(scope="module")
def llama() -> PreTrainedModel:
    return decoder("llama", dtype=torch.float32)


@pytest.fixture(scope="module")
def folder(llama: PreTrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("float") / "llama"
    llama.save_pretrained(path)
    (path / "tokenizer.json").write_text("{}")
    return path
