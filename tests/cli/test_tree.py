"""`darkit-nb tree`: every format, presets and saved models, and what cannot be opened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from darkit_nb.cli.app import run
from darkit_nb.records.trace import ModelTrace
from darkit_nb.spikify import spikify
from tests.evaluate.models import decoder


def test_a_preset_opens_without_weights(capsys: pytest.CaptureFixture[str]):
    assert run(["tree", "spike-llama-7b"]) == 0
    out = capsys.readouterr().out
    assert "LlamaForCausalLM on meta · 128 tokens · 6.74 G parameters" in out
    assert "0 … 31 LlamaDecoderLayer ×32" in out
    assert "Q16 S2" in out


def test_a_preset_reads_a_text(capsys: pytest.CaptureFixture[str]):
    assert run(["tree", "spike-gpt2-nano", "--spikes", "def main():", "--depth", "1"]) == 0
    out = capsys.readouterr().out
    assert "on cpu · 11 tokens" in out
    assert "fires" in out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("model")
    spikify(decoder("llama")).save_pretrained(place)
    return place


def test_a_saved_model_without_its_weights(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["tree", str(folder), "--meta", "-f", "json"]) == 0
    trace = ModelTrace.from_dict(json.loads(capsys.readouterr().out))
    assert trace.device == "meta"
    assert trace.node("model.layers.0.mlp.up_proj").kind == "spiking"


@pytest.mark.parametrize(
    ("form", "start"), [("html", "<!doctype html>"), ("mermaid", "flowchart LR"), ("dot", 'digraph "LlamaForCausalLM"')]
)
def test_other_formats(form: str, start: str, folder: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["tree", str(folder), "--meta", "--format", form, "--no-fold"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(start)
    assert "down_proj" in out


def test_a_text_needs_weights(capsys: pytest.CaptureFixture[str]):
    assert run(["tree", "spike-llama-nano", "--meta", "--spikes", "x"]) == 2
    assert "the meta device has none" in capsys.readouterr().err


def test_nothing_of_that_name(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert run(["tree", "nothing", "--runs-dir", str(tmp_path)]) == 2
    assert "nothing" in capsys.readouterr().err
