"""The models that come with the package."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from darkit_nb.records.bundled import FOLDER, STDLIB_LLAMA, bundled_models, called, located


def test_the_decoder_of_the_standard_library_is_there_and_small():
    folder = bundled_models()[STDLIB_LLAMA]
    assert folder == FOLDER / STDLIB_LLAMA
    names = {path.name for path in folder.iterdir()}
    assert names == {"README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert sum(path.stat().st_size for path in folder.iterdir()) < 4_000_000


def test_its_card_names_the_licence_of_its_text():
    card = (bundled_models()[STDLIB_LLAMA] / "README.md").read_text()
    assert "PSF License" in card
    assert "bits per byte" in card


def test_a_folder_of_that_name_wins_and_other_names_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert located(STDLIB_LLAMA) == FOLDER / STDLIB_LLAMA
    assert located("org/model") == "org/model"
    assert called(FOLDER / STDLIB_LLAMA) == STDLIB_LLAMA
    assert called(tmp_path) == str(tmp_path)
    (tmp_path / STDLIB_LLAMA).mkdir()
    assert located(STDLIB_LLAMA) == STDLIB_LLAMA


def test_it_is_a_float_model_kept_in_half_the_bytes():
    folder = bundled_models()[STDLIB_LLAMA]
    config = json.loads((folder / "config.json").read_text())
    assert config["dtype"] == "float32"
    assert "quantization_config" not in config
    head = (folder / "model.safetensors").read_bytes()[8:100_000]
    assert b'"F16"' in head
    assert b'"F32"' not in head
