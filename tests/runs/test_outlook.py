"""What a run will take, known before anything is built."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from darkit_nb.config import RunConfig, load_config
from darkit_nb.config import memory as memory_of
from darkit_nb.plugins import Entry, registry
from darkit_nb.runs import checks
from darkit_nb.runs import outlook as outlook_of
from darkit_nb.runs.outlook import outlook


def test_presets_folders_and_what_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = outlook(RunConfig()).estimate
    assert known is not None
    assert known.num_parameters == 1_017_984
    description = {"model_type": "gpt2", "n_embd": 8, "n_layer": 2, "n_head": 2, "vocab_size": 30}
    (tmp_path / "config.json").write_text(json.dumps(description))
    assert outlook(RunConfig().replace({"model.path": str(tmp_path)})).estimate is not None
    for unknown in ("org/model", str(tmp_path / "none")):
        assert outlook(RunConfig().replace({"model.path": unknown})).estimate is None
    for broken in ("{", '{"model_type": "gpt2"}'):
        (tmp_path / "config.json").write_text(broken)
        assert outlook(RunConfig().replace({"model.path": str(tmp_path)})).estimate is None
    monkeypatch.setitem(registry("model")._entries, "odd", Entry("odd", "No shape.", "nowhere:build"))
    for name in ("odd", "unknown"):
        assert outlook(RunConfig().replace({"model.preset": name})).estimate is None


def test_tokens_are_counted() -> None:
    config = RunConfig().replace({"train.steps": 10, "train.batch_size": 3, "train.gradient_accumulation": 2})
    assert outlook(config).tokens == 10 * 3 * 2 * 256


def free(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    for module in (memory_of, outlook_of):
        monkeypatch.setattr(module, "available_memory", lambda: size)


def test_what_does_not_fit_says_what_would(monkeypatch: pytest.MonkeyPatch) -> None:
    assert outlook(RunConfig()).fits
    free(monkeypatch, 700 * 2**20)
    large = outlook(RunConfig().replace({"train.batch_size": 512, "train.device": "cpu"}))
    assert not large.fits
    assert large.fix is not None
    assert outlook(load_config(None, ["train.device=cpu", *large.fix.split()])).fits
    free(monkeypatch, 2**20)
    hopeless = outlook(RunConfig().replace({"train.device": "cpu"}))
    assert (hopeless.fits, hopeless.fix) == (False, None)


def test_a_gpu_is_not_judged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    free(monkeypatch, 2**20)
    monkeypatch.setattr(checks, "_GPU_DEVICES", (str(tmp_path),))
    ahead = outlook(RunConfig())
    assert (ahead.fits, ahead.free_bytes) == (True, None)
    assert ahead.estimate is not None
    assert ahead.estimate.runtime == 0
    assert not outlook(RunConfig().replace({"train.device": "cpu"})).fits
