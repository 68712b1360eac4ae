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
    assert run(["tree", "spike-gpt2-nano", "--spikes", "def main():", "--depth", "1", "--timing", "--memory"]) == 0
    out = capsys.readouterr().out
    assert "on cpu · 11 tokens" in out
    assert out.splitlines()[1].split()[-5:] == ["spikes", "fires", "energy", "time", "memory"]


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


def test_a_preset_is_compared_with_its_float_twin(capsys: pytest.CaptureFixture[str]):
    assert run(["tree", "float:spike-llama-7b", "--compare", "spike-llama-7b", "--only-changed"]) == 0
    out = capsys.readouterr().out
    assert "LlamaForCausalLM float → LlamaForCausalLM spiking · 224 changed" in out
    assert "q_proj Linear → SpikeLinear" in out
    assert "lm_head" not in out


def test_a_saved_model_is_compared_with_a_saved_trace(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    saved = tmp_path / "float.json"
    assert run(["tree", f"float:{folder}", "--meta", "-f", "json"]) == 0
    saved.write_text(capsys.readouterr().out, encoding="utf-8")
    command = ["tree", str(saved), "--compare", str(folder), "--meta"]
    assert run([*command, "-f", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    comparison = told["comparison"]
    swapped = [told["after"]["nodes"][comparison["after"][place]] for place in comparison["changed"]["class_name"]]
    assert {node["class_name"] for node in swapped} == {"SpikeLinear"}
    assert run([*command, "-f", "html"]) == 0
    assert "Linear → SpikeLinear" in capsys.readouterr().out
    assert run(["tree", str(saved)]) == 0
    assert "LlamaForCausalLM on meta" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--only-changed"], "--compare OTHER"),
        (["--live", "--meta"], "has weights"),
        (["--compare", "x", "-f", "dot"], "cannot be drawn in this format"),
    ],
)
def test_options_that_do_not_go_together(options: list[str], words: str, capsys: pytest.CaptureFixture[str]):
    assert run(["tree", "spike-llama-nano", *options]) == 2
    assert words in capsys.readouterr().err
