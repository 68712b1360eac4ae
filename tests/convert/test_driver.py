"""A conversion from end to end, on tiny decoders of every family and through every interruption."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer

from darkit_nb import __version__
from darkit_nb.config.conversions import preset
from darkit_nb.convert import conversion_plan, convert_model
from darkit_nb.convert.code_digest import code_digest
from darkit_nb.convert.driver import ConversionStopped
from darkit_nb.errors import ModelError
from darkit_nb.evaluate.facts import model_facts
from darkit_nb.nn.rotation import RangeCut
from darkit_nb.records.conversion import ConversionReport
from darkit_nb.spikify import load_model, spiking_modules
from tests.conftest import need
from tests.convert.decoders import CONFIGS, decoder
from tests.convert.killing import converted, killed
from tests.convert.tiny import ids, logits_of, small

# -- what comes out ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), [("llama", "rtn"), ("gpt2", "rtn"), *((kind, "darkit") for kind in CONFIGS)])
def test_at_eight_bits_a_converted_model_is_nearly_the_float_one(kind, name, tmp_path):
    model = decoder(kind, dtype=torch.float32)
    convert_model(model, small(name, "W8A8"), calibration=ids(), out=tmp_path / "out")
    expected = logits_of(model, ids(2))
    found = logits_of(load_model(tmp_path / "out"), ids(2))
    assert (found - expected).norm() < 0.06 * expected.norm()


def test_a_model_in_16_bit_floats_stays_in_them(tmp_path):
    model = decoder("llama", dtype=torch.bfloat16)
    convert_model(model, small("darkit", "W8A8"), calibration=ids(), out=tmp_path / "out")
    loaded = load_model(tmp_path / "out")
    assert loaded.dtype == torch.bfloat16
    # Scales of packed weights keep their float32: rounding them to 16 bits would round every weight.
    assert loaded.get_buffer("model.layers.0.mlp.up_proj.scale_0").dtype == torch.float32
    found, rounded = (logits_of(each, ids(2)).float() for each in (loaded, model))
    expected = logits_of(model.float(), ids(2))
    assert (found - expected).norm() < 2 * (rounded - expected).norm() + 0.01 * expected.norm()


@pytest.mark.parametrize("name", ["rtn", "darkit"])
def test_a_head_of_its_own_counts_whatever_the_config_says_of_tying(folder, name, tmp_path):
    shutil.copytree(folder, tmp_path / "float")
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "float" / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "float")
    assert not torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)
    for number, source in enumerate((tmp_path / "float", model)):
        out = tmp_path / f"out{number}"
        convert_model(source, small(name, "W8A8"), calibration=ids(), out=out)
        expected, found = logits_of(model, ids(2)), logits_of(load_model(out), ids(2))
        assert (found - expected).norm() < 0.06 * expected.norm()


def test_saving_and_loading_again_changes_no_bit(folder, tmp_path):
    convert_model(folder, small(spike={"attention": True}), calibration=ids(), out=tmp_path / "a")
    first = load_model(tmp_path / "a")
    first.save_pretrained(tmp_path / "b")
    second = AutoModelForCausalLM.from_pretrained(tmp_path / "b")
    assert torch.equal(logits_of(first, ids(3)), logits_of(second, ids(3)))
    assert (tmp_path / "a" / "tokenizer.json").is_file()
    assert first.config.quantization_config.schema == 3


def test_ranges_of_norms_are_cut_saved_and_loaded(folder, tmp_path):
    report = convert_model(
        folder, small("quarot", "W4A2", norm_clip=True), calibration=ids(), out=tmp_path / "a", resume=False
    )
    first = load_model(tmp_path / "a")
    cuts = {name: part.keep for name, part in first.named_modules() if isinstance(part, RangeCut)}
    assert {name.split(".")[-2] for name in cuts} <= {"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"}
    assert cuts
    assert max(cuts.values()) < 1
    assert sum(part.additions for part in model_facts(first, 20).mixing if part.name == "cut range") > 0
    first.save_pretrained(tmp_path / "b")
    assert torch.equal(logits_of(first, ids(3)), logits_of(load_model(tmp_path / "b"), ids(3)))
    plain = convert_model(folder, small("quarot", "W4A2"), calibration=ids(), out=tmp_path / "plain")
    assert report.blocks[0].error < plain.blocks[0].error


def test_the_report_tells_steps_bits_and_bytes(folder, tmp_path):
    events = []
    report = convert_model(folder, small(), calibration=ids(), out=tmp_path / "out", on_event=events.append)
    kinds = [event["kind"] for event in events]
    assert kinds == ["plan", "statistics", "statistics", "block", "block", "block", "saved"]
    assert len(report.layers) == 21
    # 24 features: 3 salient; heads of 6: 1 of 6; 40 hidden features: 8, which leaves two large binary blocks.
    assert 1.1 < report.mean_steps < 1.2
    assert report.ace == pytest.approx(16 * report.mean_steps)
    assert report.storage_bits > 4
    assert ConversionReport.from_dict(json.loads((tmp_path / "out" / "conversion.json").read_text())) == report
    assert not (tmp_path / "out.conversion").exists()


def test_a_converted_model_spikes(folder, tmp_path):
    convert_model(folder, small(), calibration=ids(), out=tmp_path / "out")
    model = load_model(tmp_path / "out")
    modules = spiking_modules(model)
    assert len(modules) == 21
    heard = []
    for name, module in modules.items():
        assert module.spike_name == name
        module.spike_listener = lambda neuron, code: heard.append((neuron.spike_name, int(code.cap)))
    logits_of(model, ids(2))
    assert {cap for _, cap in heard} == {255}


def test_additive_weights_leave_activations_in_float(folder, tmp_path):
    report = convert_model(folder, small("spikellm-gptq", "ternary"), calibration=ids(), out=tmp_path / "out")
    assert report.mean_steps == 1
    assert report.code_bits == 16
    assert not spiking_modules(load_model(tmp_path / "out"))


def test_patterns_leave_layers_in_float(folder, tmp_path):
    spec = small(spike={"exclude": ["*.mlp.*"]})
    report = convert_model(folder, spec, calibration=ids(), out=tmp_path / "out")
    assert len(report.layers) == 12
    assert len(spiking_modules(load_model(tmp_path / "out"))) == 12


def test_a_large_model_is_saved_in_a_file_a_block(folder, tmp_path, monkeypatch):
    convert_model(folder, small(), calibration=ids(), out=tmp_path / "one")
    monkeypatch.setattr("darkit_nb.convert.save.ONE_FILE_BYTES", 1)
    convert_model(folder, small(), calibration=ids(), out=tmp_path / "many")
    assert len(list((tmp_path / "many").glob("model-*-of-00004.safetensors"))) == 4
    one, many = (load_model(tmp_path / name) for name in ("one", "many"))
    assert torch.equal(logits_of(one, ids(3)), logits_of(many, ids(3)))


def test_a_plan_reads_no_weights(folder):
    plan = conversion_plan(folder, small())
    assert plan.blocks == 3
    assert plan.architecture == "LlamaForCausalLM"
    # Three streams of the text, and gradients before each of three blocks and behind the last.
    assert plan.cache_bytes == (3 + 4) * 6 * 20 * 24 * 4
    assert "2 radix steps" in plan.text


def test_processes_share_the_samples_of_a_plan(folder):
    one, two = conversion_plan(folder, small()), conversion_plan(folder, small(), processes=4)
    assert two.cache_bytes == one.cache_bytes // 3  # 2 of 6 sequences
    assert (one.processes, two.processes) == (1, 4)
    assert "6 × 20 tokens, shared among 4 processes" in two.text
    assert "memory of each process" in two.text


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_floats_are_converted_and_keep_their_dtype(dtype, tmp_path):
    model = decoder("llama", dtype=dtype)
    convert_model(model, small("rtn", "W8A8"), calibration=ids(), out=tmp_path / "out")
    loaded = load_model(tmp_path / "out")
    assert loaded.dtype == dtype
    expected, found = (logits_of(each, ids(2)).double() for each in (model.double(), loaded))
    assert (found - expected).norm() < 0.08 * expected.norm()


def test_a_dead_feature_hurts_nothing(tmp_path):
    model = decoder("llama", dtype=torch.float32)
    model.model.layers[0].input_layernorm.weight.data[5] = 0
    model.model.layers[1].mlp.up_proj.weight.data[7] = 0
    model.model.layers[1].mlp.up_proj.bias.data[7] = 0
    for name in ("smoothquant", "gptq"):
        convert_model(model, small(name, "W8A8"), calibration=ids(), out=tmp_path / name)
        expected = logits_of(model, ids(2))
        found = logits_of(load_model(tmp_path / name), ids(2))
        assert (found - expected).norm() < 0.06 * expected.norm()


# -- interruptions -------------------------------------------------------------------------------------------------


def same_bits(one: Path, other: Path) -> bool:
    a, b = (load_file(path / "model.safetensors") for path in (one, other))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_killed_in_the_middle_of_a_block_the_result_is_the_same_bit_for_bit(folder, tmp_path):
    out = tmp_path / "out"
    assert killed(folder, out, "before a layer", 11)
    assert not out.exists()
    assert [file.name for file in (tmp_path / "out.conversion").glob("block-*.json")] == ["block-0000.json"]
    converted(folder, out)
    report = ConversionReport.from_dict(json.loads((out / "conversion.json").read_text()))
    assert [block.resumed for block in report.blocks] == [True, False, False]
    converted(folder, tmp_path / "whole")
    assert same_bits(out, tmp_path / "whole")


LAYERS = 7
KILLS = [
    *(("before a layer", count) for count in range(1, LAYERS + 1)),
    ("while tensors are moved to their place", 1),
    ("behind a file that was moved", 1),
    ("while tensors are moved to their place", 2),
    ("behind a file that was moved", 2),
]
"""Wherever a process can die in a block: before each layer, and around each of the two files that keep it."""


@pytest.mark.slow
def test_killed_in_every_block_at_every_moment_the_result_is_the_same_bit_for_bit(folder, tmp_path):
    out, work = tmp_path / "out", tmp_path / "out.conversion"
    converted(folder, tmp_path / "whole")
    assert killed(folder, out, "before a layer", 1)
    for block in range(3):
        for moment, count in KILLS:
            done = len(list(work.glob("block-*.json")))
            assert done == block, (moment, count)
            assert killed(folder, out, moment, count)
            assert not out.exists()
    assert len(list(work.glob("block-*.json"))) == 3
    for moment, count in (("before the save", 1), ("while tensors are moved to their place", 1)):
        assert killed(folder, out, moment, count)
        assert not out.exists()
    assert killed(folder, out, "between the save and clearing away", 1)
    assert out.exists()
    assert work.exists()
    converted(folder, out)
    assert not work.exists()
    assert not list(tmp_path.glob("*.partial"))
    assert same_bits(out, tmp_path / "whole")
    for name in ("config.json", "tokenizer.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_half_written_block_is_made_again(folder, tmp_path):
    out = tmp_path / "out"
    asked = iter([False, False, True])
    with pytest.raises(ConversionStopped, match="before block 3 of 3"):
        convert_model(folder, small(), calibration=ids(), out=out, should_stop=lambda: next(asked))
    work = tmp_path / "out.conversion"
    (work / "block-0001.json").unlink()
    (work / "block-0001.safetensors").write_bytes(b"torn")
    report = convert_model(folder, small(), calibration=ids(), out=out)
    assert [block.resumed for block in report.blocks] == [True, False, False]
    convert_model(folder, small(), calibration=ids(), out=tmp_path / "whole")
    assert same_bits(out, tmp_path / "whole")


def test_a_finished_conversion_is_not_done_again(folder, tmp_path):
    first = convert_model(folder, small(), calibration=ids(), out=tmp_path / "out")
    events = []
    again = convert_model(folder, small(), calibration=ids(), out=tmp_path / "out", on_event=events.append)
    assert again == first
    assert [event["kind"] for event in events] == ["plan", "saved"]


def test_other_settings_do_not_go_on_where_these_stopped(folder, tmp_path):
    with pytest.raises(ConversionStopped):
        convert_model(folder, small(), calibration=ids(), out=tmp_path / "out", should_stop=lambda: True)
    with pytest.raises(ModelError, match="Another conversion was begun here") as caught:
        convert_model(folder, small(damping=0.02), calibration=ids(), out=tmp_path / "out")
    assert "damping=0.02" in str(caught.value.received)
    with pytest.raises(ModelError) as caught:
        convert_model(folder, small(), calibration=ids(7), out=tmp_path / "out")
    assert "another calibration text" in str(caught.value.received)
    convert_model(folder, small(damping=0.02), calibration=ids(), out=tmp_path / "out", resume=False)


@pytest.mark.parametrize("version", ["0.0.7", None])
def test_what_another_version_began_is_left_to_it(folder, tmp_path, version):
    stops = iter((False, True))
    with pytest.raises(ConversionStopped):
        convert_model(folder, small(), calibration=ids(), out=tmp_path / "out", should_stop=lambda: next(stops))
    state = tmp_path / "out.conversion" / "state.json"
    known = json.loads(state.read_text())
    assert known.pop("version") == __version__
    state.write_text(json.dumps(known if version is None else {**known, "version": version}))
    with pytest.raises(ModelError, match="Another version") as caught:
        convert_model(folder, small(), calibration=ids(), out=tmp_path / "out")
    assert str(version or "earlier") in str(caught.value.expected)
    assert "out.conversion" in str(caught.value.fix)
    assert (state.parent / "block-0000.json").is_file()
    convert_model(folder, small(), calibration=ids(), out=tmp_path / "out", resume=False)


def test_what_other_code_or_another_number_of_processes_began_is_left_to_it(folder, tmp_path):
    stops = iter((False, True))
    with pytest.raises(ConversionStopped):
        convert_model(folder, small(), calibration=ids(), out=tmp_path / "out", should_stop=lambda: next(stops))
    state = tmp_path / "out.conversion" / "state.json"
    known = json.loads(state.read_text())
    assert (known["code"], known["processes"]) == (code_digest(), 1)
    for changes, said, way in (
        ({"code": "0123456789abcdef"}, "Other code of the same version", "comments count"),
        ({"processes": 4}, "Another number of processes", "start it with 4 processes"),
    ):
        state.write_text(json.dumps({**known, **changes}))
        with pytest.raises(ModelError, match=said) as caught:
            convert_model(folder, small(), calibration=ids(), out=tmp_path / "out")
        assert way in str(caught.value.fix)
        assert "out.conversion" in str(caught.value.fix)
        assert (state.parent / "block-0000.json").is_file()
    state.write_text(json.dumps(known))
    report = convert_model(folder, small(), calibration=ids(), out=tmp_path / "out")
    assert [block.resumed for block in report.blocks] == [True, False, False]


def test_a_full_disk_loses_no_block(folder, tmp_path):
    out = tmp_path / "out"
    work = tmp_path / "out.conversion"
    asked = iter([False, True])
    with pytest.raises(ConversionStopped):
        convert_model(folder, small(), calibration=ids(), out=out, should_stop=lambda: next(asked))
    # A real full disk: what is written to this file meets ENOSPC.
    (work / "block-0001.safetensors.partial").symlink_to("/dev/full")
    with pytest.raises(ModelError, match="the disk is full") as caught:
        convert_model(folder, small(), calibration=ids(), out=out)
    assert "make room" in str(caught.value.fix)
    (work / "block-0001.safetensors.partial").unlink()
    report = convert_model(folder, small(), calibration=ids(), out=out)
    assert [block.resumed for block in report.blocks] == [True, False, False]


# -- a real model --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def novel() -> tuple[Path, Tensor, Tensor]:
    """A small Llama trained on novels, its calibration text and windows it never saw."""
    data = Path(os.environ.get("DARKIT_TEST_DATA", "nowhere"))
    model = data.parent / "models" / "novel-llama"
    need("data", (model / "model.safetensors").is_file(), "no novel-llama beside DARKIT_TEST_DATA")
    tokenizer = AutoTokenizer.from_pretrained(model)
    text = (data / "novels" / "valid.txt").read_text()
    tokens = torch.tensor(tokenizer(text[:400_000], verbose=False)["input_ids"])
    windows = tokens[: len(tokens) // 256 * 256].view(-1, 256)
    return model, windows[-32:], windows[:64]


@pytest.mark.slow
def test_pipelines_on_a_trained_model_come_in_their_order(novel, tmp_path):
    model, calibration, text = novel

    def loss(path: Path) -> float:
        loaded = load_model(path)
        return sum(
            float(cross_entropy(logits_of(loaded, batch)[:, :-1].flatten(0, 1), batch[:, 1:].flatten()))
            for batch in text.split(8)
        ) / (len(text) // 8)

    base, lost = loss(model), {}
    for name in ("rtn", "gptq", "quarot", "darkit"):
        spec = preset(name, samples=32, sample_length=256)
        convert_model(model, spec, calibration=calibration, out=tmp_path / name)
        lost[name] = loss(tmp_path / name) - base
    assert 0 < lost["darkit"] < lost["quarot"] < 0.6 * lost["gptq"]
    assert lost["gptq"] < lost["rtn"] < 0.3


@pytest.mark.slow
def test_generation_with_a_cache_of_codes_equals_generation_without(novel, tmp_path):
    model, calibration, text = novel
    spec = preset("darkit", samples=8, sample_length=256, spike={"attention": True})
    convert_model(model, spec, calibration=calibration, out=tmp_path / "out")
    # In double: in single precision a code may be a tie that falls one way for one token and the other way for many.
    loaded: Any = load_model(tmp_path / "out").double()
    prompt = text[:2, :20]
    settings = {"max_new_tokens": 24, "do_sample": False, "pad_token_id": 0}
    with torch.no_grad():
        cached = loaded.generate(prompt, use_cache=True, **settings)
        plain = loaded.generate(prompt, use_cache=False, **settings)
    assert torch.equal(cached, plain)
