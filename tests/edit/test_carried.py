"""Edits travel with a saved model, and weights never part from the code they were trained with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from darkit_nb.edit.apply import apply, history, make_patch, revert
from darkit_nb.edit.fork import Fork
from darkit_nb.edit.source import module_source
from darkit_nb.errors import PatchError, TrustError
from darkit_nb.models.build import build_model
from darkit_nb.spikify import load_model, spikify, spiking_modules, unspikify
from darkit_nb.trace.subject import trace_named

SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
TOKENS = torch.arange(12).view(1, -1)


@pytest.fixture(autouse=True)
def _config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKIT_CONFIG", str(tmp_path / "config"))


def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a machine where nothing was trusted yet."""
    monkeypatch.setenv("DARKIT_CONFIG", str(tmp_path / "another"))


def edited(spiking: bool = True):
    model = build_model("spike-llama-nano", vocab_size=64, seq_len=32, overrides={**SMALL, "num_key_value_heads": 1})
    model = spikify(model).eval() if spiking else model.eval()
    before = logits(model)
    text = module_source(model, "model.layers.0.mlp").text
    halved = text.replace("return down_proj", "down_proj = 0.5 * down_proj\n        return down_proj")
    assert halved != text
    apply(model, make_patch(model, "model.layers.0.mlp", halved, note="halved"), folder=os.environ["DARKIT_CONFIG"])
    assert not torch.equal(logits(model), before)
    return model


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(TOKENS).logits


@pytest.mark.parametrize("spiking", [True, False])
def test_an_edited_model_is_saved_and_loaded_with_its_edits(tmp_path: Path, spiking: bool):
    model = edited(spiking)
    model.save_pretrained(tmp_path / "saved")
    for loaded in (load_model(tmp_path / "saved"), AutoModelForCausalLM.from_pretrained(tmp_path / "saved").eval()):
        assert torch.equal(logits(loaded), logits(model))
        assert [each.patch for each in history(loaded)] == [each.patch for each in history(model)]
        assert bool(spiking_modules(loaded)) == spiking
    loaded.save_pretrained(tmp_path / "again")
    assert torch.equal(logits(load_model(tmp_path / "again")), logits(model))
    revert(loaded)
    loaded.save_pretrained(tmp_path / "plain")
    stated = json.loads((tmp_path / "plain" / "config.json").read_text()).get("quantization_config")
    assert stated is None if not spiking else "patches" not in stated and stated["schema"] == 1
    assert not torch.equal(logits(load_model(tmp_path / "plain")), logits(model))


@pytest.mark.parametrize("spiking", [True, False])
def test_what_an_edited_constructor_makes_is_there_again(tmp_path: Path, spiking: bool):
    model = edited(spiking)
    text = module_source(model, "model.layers.1.mlp").text
    made = """self.gate = torch.nn.Parameter(torch.ones(config.hidden_size))
        self.register_buffer("table", torch.arange(config.hidden_size) / 8, persistent=False)
        self.act_fn = """
    text = text.replace("self.act_fn = ", made).replace(
        "return down_proj", "return down_proj * (self.gate + self.table)"
    )
    apply(model, make_patch(model, "model.layers.1.mlp", text), folder=tmp_path / "texts")
    with torch.no_grad():
        model.model.layers[1].mlp.gate.uniform_(1, 2)
    model.save_pretrained(tmp_path / "saved")
    loaded = load_model(tmp_path / "saved")
    assert torch.equal(loaded.model.layers[1].mlp.table, torch.arange(32) / 8)
    assert torch.equal(logits(loaded), logits(model))
    revert(loaded)
    revert(model)
    assert torch.equal(logits(loaded), logits(model))
    assert "table" not in dict(loaded.model.layers[1].mlp.named_buffers())


def test_from_elsewhere_it_is_shown_and_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model, place = edited(), tmp_path / "saved"
    model.save_pretrained(place)
    elsewhere(monkeypatch, tmp_path)
    opens = (load_model, AutoModelForCausalLM.from_pretrained, lambda place: trace_named(str(place), meta=True))
    for load in opens:
        with pytest.raises(TrustError, match="has agreed to run") as caught:
            load(place)
        assert "+        down_proj = 0.5 * down_proj" in str(caught.value)
        assert "fork trust" in str(caught.value.fix)
    assert torch.equal(logits(load_model(place, trust=True)), logits(model))
    assert torch.equal(logits(load_model(place)), logits(model))
    text = (place / "config.json").read_text()
    (place / "config.json").write_text(text.replace("0.5 * down", "0.7 * down"))
    with pytest.raises(TrustError):
        load_model(place)


def test_an_older_version_is_told_that_it_cannot_read_them(tmp_path: Path):
    edited().save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["quantization_config"]["schema"] == 2


def test_a_base_that_no_longer_fits_is_an_error_and_never_the_plain_model(tmp_path: Path):
    edited().save_pretrained(tmp_path)
    facts = json.loads((tmp_path / "config.json").read_text())
    (record,) = facts["quantization_config"]["patches"]
    record["class_name"] = "LlamaMLPOfAnotherVersion"
    (tmp_path / "config.json").write_text(json.dumps(facts))
    with pytest.raises(PatchError):
        load_model(tmp_path, trust=True)


def test_unspikify_keeps_the_edits(tmp_path: Path):
    model = unspikify(edited())
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(load_model(tmp_path)), logits(model))
    assert not spiking_modules(load_model(tmp_path))


def test_an_edited_model_opens_without_its_weights(tmp_path: Path):
    edited().save_pretrained(tmp_path)
    trace = trace_named(str(tmp_path), meta=True)
    one, other = trace.node("model.layers.0.mlp"), trace.node("model.layers.1.mlp")
    assert Path(one.file).name.startswith("LlamaMLP_")
    assert Path(other.file).name == "modeling_llama.py"


NEW_PROCESS = """
import sys, traceback, torch
from darkit_nb.edit.fork import Fork
from darkit_nb.models.build import build_model
from tests.edit.test_carried import SMALL, TOKENS, logits
model = build_model("spike-llama-nano", vocab_size=64, seq_len=32, overrides={**SMALL, "num_key_value_heads": 1}).eval()
fork = Fork.load(sys.argv[1], forks_dir=sys.argv[2], trust=True)
fork.apply(model, folder=sys.argv[3])
torch.save(logits(model), sys.argv[4])
try:
    model.model.layers[0].mlp(None)
except TypeError:
    frames = [each for each in traceback.extract_tb(sys.exc_info()[2]) if "LlamaMLP" in each.filename]
    print(frames[-1].filename, frames[-1].lineno, frames[-1].line, sep="\\n")
"""


def test_a_fork_in_a_new_process_and_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = edited(spiking=False)
    saved = Fork.create("halved", model, note="half of it").save(tmp_path / "forks")
    assert saved.folder is not None
    moved = tmp_path / "colleague" / "forks"
    moved.parent.mkdir()
    saved.folder.parent.rename(moved)
    arguments = ["halved", str(moved), str(tmp_path / "texts"), str(tmp_path / "logits.pt")]
    settings = {**os.environ, "DARKIT_CONFIG": str(tmp_path / "their-config")}
    done = subprocess.run(
        [sys.executable, "-c", NEW_PROCESS, *arguments], env=settings, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert torch.equal(torch.load(tmp_path / "logits.pt", weights_only=True), logits(model))
    file, number, line = done.stdout.strip().splitlines()
    assert Path(file).parent == tmp_path / "texts"
    text = Path(file).read_text().splitlines()
    assert text[int(number) - 1].strip() == line
    assert "self.down_proj" in line


def test_a_fork_is_applied_whole_or_not_at_all():
    model, other = edited(), edited()
    second = make_patch(other, "model.layers.1.mlp", module_source(other, "model.layers.1.mlp").text + "# x\n")
    apply(other, second, folder=os.environ["DARKIT_CONFIG"])
    fork = Fork.create("two", other)
    target = build_model("spike-llama-nano", vocab_size=64, seq_len=32, overrides={**SMALL, "num_hidden_layers": 1})
    before = logits(target.eval())
    with pytest.raises(PatchError):
        fork.apply(target, folder=os.environ["DARKIT_CONFIG"])
    assert torch.equal(logits(target), before)
    assert not [each for each in history(target) if not each.reverted]
    assert len(fork.apply(revert_all(model), folder=os.environ["DARKIT_CONFIG"])) == 2
    assert torch.equal(logits(model), logits(other))


def revert_all(model):
    revert(model, count=None)
    return model
