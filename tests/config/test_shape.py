"""What a run will take, known before anything is built."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from darkit_nb.config import RunConfig, load_config
from darkit_nb.config import memory as memory_of
from darkit_nb.config.shape import model_shape, outlook
from darkit_nb.plugins import Entry, registry


def test_presets_and_overrides() -> None:
    shape = model_shape(RunConfig().replace({"model.overrides": {"hidden_size": 64}}))
    assert shape is not None
    assert (shape["model_type"], shape["hidden_size"], shape["num_hidden_layers"]) == ("llama", 64, 4)


def test_a_folder_is_read_and_a_hub_id_is_not(tmp_path: Path) -> None:
    description = {"model_type": "gpt2", "n_embd": 8, "n_layer": 2, "n_head": 2, "vocab_size": 30}
    (tmp_path / "config.json").write_text(json.dumps(description))
    assert model_shape(RunConfig().replace({"model.path": str(tmp_path)})) == description
    for unknown in ("org/model", str(tmp_path / "none")):
        config = RunConfig().replace({"model.path": unknown})
        assert model_shape(config) is None
        assert outlook(config).estimate is None
    for broken in ("[1]", "{", '{"model_type": "gpt2"}'):
        (tmp_path / "config.json").write_text(broken)
        assert outlook(RunConfig().replace({"model.path": str(tmp_path)})).estimate is None


def test_plug_ins_of_other_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry("model")._entries, "odd", Entry("odd", "No shape.", "nowhere:build"))
    for name in ("odd", "unknown"):
        assert model_shape(RunConfig().replace({"model.preset": name})) is None


def test_tokens_are_counted() -> None:
    config = RunConfig().replace({"train.steps": 10, "train.batch_size": 3, "train.gradient_accumulation": 2})
    assert outlook(config).tokens == 10 * 3 * 2 * 256


def test_what_does_not_fit_says_what_would(monkeypatch: pytest.MonkeyPatch) -> None:
    assert outlook(RunConfig()).fits
    monkeypatch.setattr(memory_of, "available_memory", lambda: 700 * 2**20)
    large = outlook(RunConfig().replace({"train.batch_size": 512, "train.device": "cpu"}))
    assert not large.fits
    assert large.fix is not None
    smaller = load_config(None, ["train.device=cpu", *large.fix.split()])
    assert outlook(smaller).fits
    monkeypatch.setattr(memory_of, "available_memory", lambda: 2**20)
    hopeless = outlook(RunConfig())
    assert (hopeless.fits, hopeless.fix) == (False, None)
    assert outlook(RunConfig().replace({"train.device": "cuda"})).fits
