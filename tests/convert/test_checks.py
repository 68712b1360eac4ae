"""What has to hold before a conversion begins, and what cannot be converted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from darkit_nb.config.conversions import preset
from darkit_nb.convert import conversion_plan, convert_model
from darkit_nb.errors import DarkitError, DataError, ModelError
from darkit_nb.records.conversion import ConversionSpec
from darkit_nb.spikify import load_model, spikify, unspikify
from tests.convert.decoders import decoder
from tests.convert.tiny import ids, small


def test_more_activations_than_memory_are_refused_before_any_work(tmp_path, monkeypatch: pytest.MonkeyPatch):
    model, spec = decoder("llama", dtype=torch.float32), preset("rtn", samples=6, sample_length=20)
    streams = 2 * 6 * 20 * model.config.hidden_size * 4

    def memory(total: int) -> None:
        monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=total))
        monkeypatch.setattr("psutil.swap_memory", lambda: SimpleNamespace(total=0))

    memory(streams - 1)
    with pytest.raises(DataError, match="do not fit into memory") as caught:
        convert_model(model, spec, calibration=ids(), out=tmp_path / "out")
    assert "6 × 20 tokens" in str(caught.value.received)
    assert "samples=" in str(caught.value.fix)
    assert not list(tmp_path.iterdir())
    memory(streams)
    convert_model(model, spec, calibration=ids(), out=tmp_path / "out")


def refused(
    kind: type[DarkitError], source, tmp_path: Path, spec: ConversionSpec | None = None, **changes
) -> DarkitError:
    """The error, after which nothing may have been written."""
    arguments = {"calibration": ids(), "out": tmp_path / "refused", **changes}
    with pytest.raises(kind) as caught:
        convert_model(source, spec or small(), **arguments)
    assert not (tmp_path / "refused").exists()
    return caught.value


def changed(folder: Path, copy: Path, **settings) -> None:
    """A copy of a model whose config says something else."""
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, **settings}))


def test_what_is_converted_already_is_refused(folder, tmp_path):
    convert_model(folder, small("rtn"), calibration=ids(), out=tmp_path / "out")
    error = refused(ModelError, tmp_path / "out", tmp_path)
    assert "converted already" in error.message
    with pytest.raises(ModelError, match="no float weights to go back to"):
        unspikify(load_model(tmp_path / "out"))


def test_a_spiking_model_is_refused(llama, tmp_path):
    model = spikify(decoder("llama", dtype=torch.float32))
    assert "already" in refused(ModelError, model, tmp_path).message


def test_an_unknown_architecture_is_named(tmp_path):
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    config = GPTNeoXConfig(
        vocab_size=97, hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=40
    )
    error = refused(ModelError, GPTNeoXForCausalLM(config), tmp_path)
    assert error.received == "model_type='gpt_neox'"
    assert "Llama" in str(error.expected)


@pytest.mark.parametrize(
    "changes", [{"do_layer_norm_before": False}, {"activation_function": "gelu"}, {"word_embed_proj_dim": 12}]
)
def test_a_variant_with_other_relations_is_refused(changes, tmp_path):
    error = refused(ModelError, decoder("opt", **changes), tmp_path)
    assert "variant of OPT" in error.message


def test_an_architecture_that_cannot_even_be_built_the_usual_way_is_named(tmp_path):
    from transformers import BloomConfig

    with pytest.raises(ModelError, match="architecture cannot be converted"):
        conversion_plan(BloomConfig(), small())


def test_a_model_without_blocks_is_refused(folder, tmp_path):
    changed(folder, tmp_path / "none", num_hidden_layers=0)
    assert refused(ModelError, tmp_path / "none", tmp_path).received == "0 blocks"


@pytest.mark.parametrize(
    ("changes", "said"), [({"vocab_size": 120}, "model.embed_tokens.weight"), ({"num_hidden_layers": 4}, "layers.3")]
)
def test_weights_of_another_config_are_refused_before_any_work(folder, tmp_path, changes, said):
    changed(folder, tmp_path / "other", **changes)
    assert said in str(refused(ModelError, tmp_path / "other", tmp_path).expected)
    assert not (tmp_path / "refused.conversion").exists()


def test_a_head_that_is_missing_is_said_before_any_work(tmp_path):
    decoder("qwen2", dtype=torch.float32).save_pretrained(tmp_path / "tied")
    changed(tmp_path / "tied", tmp_path / "untied", tie_word_embeddings=False)
    assert "lm_head.weight" in str(refused(ModelError, tmp_path / "untied", tmp_path, spec=small("rtn")).expected)
    assert not (tmp_path / "refused.conversion").exists()


def test_calibration_that_is_too_short(folder, tmp_path):
    assert "too short" in refused(DataError, folder, tmp_path, calibration=ids()[:5]).message
    assert "too short" in refused(DataError, folder, tmp_path, calibration=ids()[:, :19]).message
    long = small(sample_length=100)
    assert "longer than the model's context" in refused(DataError, folder, tmp_path, spec=long).message


def test_calibration_with_tokens_of_another_tokenizer(folder, tmp_path):
    error = refused(DataError, folder, tmp_path, calibration=ids(vocabulary=500))
    assert "tokens this model does not know" in error.message


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("where", ["model.embed_tokens.weight", "model.layers.1.mlp.up_proj.weight"])
def test_a_weight_that_is_not_finite_is_named_before_any_work(where, value, tmp_path):
    model = decoder("llama", dtype=torch.float32)
    model.get_parameter(where).data[3, 3] = value
    error = refused(ModelError, model, tmp_path, spec=small("rtn"))
    assert where in error.message
    assert "1 of" in str(error.received)
    assert not (tmp_path / "refused.conversion").exists()


def test_calibration_that_is_no_token_ids(folder, tmp_path):
    for given in (ids().float(), ids() > 5):
        error = refused(DataError, folder, tmp_path, calibration=given)
        assert "no token ids" in error.message


def test_blocks_before_values_that_are_not_finite_stay(tmp_path):
    model = decoder("llama", dtype=torch.float32)
    model.get_parameter("model.layers.1.mlp.up_proj.weight").data.fill_(3.4e38)
    error = refused(DataError, model, tmp_path, spec=small("rtn"))
    assert "not finite" in error.message
    assert [file.name for file in (tmp_path / "refused.conversion").glob("*.json")].count("block-0000.json") == 1


@pytest.mark.parametrize("method", ["gptq", "compressed-tensors", "fp8"])
def test_a_model_quantised_by_others_is_refused(folder, tmp_path, method):
    shutil.copytree(folder, tmp_path / "theirs")
    config = json.loads((tmp_path / "theirs" / "config.json").read_text())
    (tmp_path / "theirs" / "config.json").write_text(
        json.dumps({**config, "quantization_config": {"quant_method": method, "bits": 4}})
    )
    error = refused(ModelError, tmp_path / "theirs", tmp_path)
    assert "quantised already" in error.message
    assert method in str(error.received)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
def test_weights_stored_as_codes_are_refused(folder, tmp_path, dtype):
    shutil.copytree(folder, tmp_path / "codes")
    file = tmp_path / "codes" / "model.safetensors"
    save_file({name: value.to(dtype) for name, value in load_file(file).items()}, file, {"format": "pt"})
    error = refused(ModelError, tmp_path / "codes", tmp_path)
    assert "no plain floats" in error.message
    assert str(dtype).removeprefix("torch.") in str(error.received)


def test_a_folder_without_weights(tmp_path, folder):
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "model.safetensors").unlink()
    assert "no weights" in refused(ModelError, broken, tmp_path).message
    (broken / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-10])
    assert "not a whole safetensors file" in refused(DarkitError, broken, tmp_path).message


def test_wrong_names_and_revisions(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    error = refused(ModelError, "nobody/nothing", tmp_path, revision="v9")
    assert "at revision 'v9'" in error.message
    assert "--revision v9" in str(error.fix)
    assert "no revisions" in refused(ModelError, folder, tmp_path, revision="main").message


def test_a_revision_that_was_not_fetched_is_named_and_one_that_was_is_converted(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    cached = tmp_path / "cache" / "models--somebody--something"
    shutil.copytree(folder, cached / "snapshots" / ("a" * 40))
    (cached / "refs").mkdir()
    (cached / "refs" / "v1").write_text("a" * 40)
    error = refused(ModelError, "somebody/something", tmp_path, revision="v9")
    assert "'somebody/something' at revision 'v9'" in error.message
    report = convert_model("somebody/something", small("rtn"), calibration=ids(), out=tmp_path / "out", revision="v1")
    assert report.source == "somebody/something"


def test_a_folder_that_is_taken(folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(ModelError, match="something at"):
        convert_model(folder, small(), calibration=ids(), out=tmp_path / "out", resume=False)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("beside", ["out.conversion", "out.partial"])
def test_what_is_not_ours_beside_the_model_is_not_touched(folder, tmp_path, beside):
    (tmp_path / beside).mkdir()
    (tmp_path / beside / "thesis.txt").write_text("years of work")
    for resume in (True, False):
        with pytest.raises(ModelError, match="holds something else"):
            convert_model(folder, small("rtn"), calibration=ids(), out=tmp_path / "out", resume=resume)
    assert (tmp_path / beside / "thesis.txt").read_text() == "years of work"
    assert [path.name for path in tmp_path.iterdir()] == [beside]


def test_a_path_that_is_no_hub_id_is_not_told_to_be_fetched(tmp_path):
    error = refused(ModelError, str(tmp_path / "nowhere"), tmp_path)
    assert "hf download" not in str(error)
    assert "no such folder" in str(error.received)
