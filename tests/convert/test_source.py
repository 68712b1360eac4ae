"""Weights are read one at a time, from whatever layout a checkpoint has."""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

from darkit_nb.convert.skeleton import Skeleton
from darkit_nb.convert.source import LoadedSource, open_source
from darkit_nb.errors import ModelError
from tests.convert.decoders import CONFIGS, decoder

IDS = torch.randint(2, 97, (5, 16), generator=torch.Generator().manual_seed(0))


def saved(path: Path, kind: str = "llama", **options) -> Path:
    decoder(kind, dtype=torch.float32).save_pretrained(path, **options)
    return path


def test_shards_hold_the_same_model_as_one_file(tmp_path):
    one, many = open_source(saved(tmp_path / "one")), open_source(saved(tmp_path / "many", max_shard_size="20KB"))
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 2
    assert one.names() == many.names()
    assert all(torch.equal(one.tensor(name), many.tensor(name)) for name in one.names())
    assert one.fingerprint() != many.fingerprint()


def test_a_missing_shard_is_named_before_anything_is_read(tmp_path):
    folder = saved(tmp_path / "many", max_shard_size="20KB")
    lost = sorted(folder.glob("*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(ModelError, match="files are missing") as caught:
        open_source(folder)
    assert lost.name in str(caught.value.received)


def test_a_missing_tensor_is_named(tmp_path):
    folder = saved(tmp_path / "many", max_shard_size="20KB")
    index = folder / "model.safetensors.index.json"
    known = json.loads(index.read_text())
    del known["weight_map"]["model.layers.1.mlp.up_proj.weight"]
    index.write_text(json.dumps(known))
    with pytest.raises(ModelError, match="not complete") as caught:
        Skeleton(open_source(folder)).check_source()
    assert "model.layers.1.mlp.up_proj.weight" in str(caught.value.expected)


@pytest.mark.parametrize("kind", ["gpt2", "opt"])
def test_a_checkpoint_saved_without_its_head_is_found(kind, tmp_path):
    model: Any = decoder(kind, dtype=torch.float32)
    model.base_model.save_pretrained(tmp_path / "base")
    stored = open_source(tmp_path / "base")
    full = open_source(model)
    for name in full.names():
        if name != "lm_head.weight":
            assert torch.equal(stored.tensor(name), full.tensor(name))


@pytest.mark.parametrize("kind", CONFIGS)
def test_blocks_run_one_by_one_give_what_the_model_gives(kind):
    model = decoder(kind, dtype=torch.float32)
    skeleton = Skeleton(LoadedSource(model))
    skeleton.fill_front()
    stream = skeleton.enter(IDS)
    for index in range(skeleton.blocks):
        stream = skeleton.run(skeleton.block(index), index, stream)
    with torch.no_grad():
        expected = model(input_ids=IDS, output_hidden_states=True, use_cache=False)
        norm: Any = skeleton.model.get_submodule(skeleton.family.final_norm)
        torch.testing.assert_close(norm(torch.cat(stream)), expected.hidden_states[-1], atol=2e-4, rtol=1e-4)


def test_the_model_in_memory_is_not_changed(tmp_path):
    model = decoder("llama", dtype=torch.float32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    skeleton = Skeleton(LoadedSource(model))
    skeleton.fill_front()
    for parameter in skeleton.block(0).parameters():
        parameter.data.fill_(0)
    skeleton.model.get_parameter("model.embed_tokens.weight").data.fill_(0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_weights_of_another_shape_are_refused(tmp_path):
    folder = saved(tmp_path / "float")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))
    with pytest.raises(ModelError, match="another shape"):
        Skeleton(open_source(folder)).check_source()


def test_a_gguf_file_is_named_with_the_way_to_floats(tmp_path):
    folder = tmp_path / "my model"
    folder.mkdir()
    (folder / "small-q4_1.gguf").write_bytes(b"GGUF")
    for place in (folder, folder / "small-q4_1.gguf"):
        with pytest.raises(ModelError, match="is a GGUF file, whose weights are quantised") as caught:
            open_source(place)
        words = shlex.split(str(caught.value.fix).partition("then ")[2])
        assert words[:2] == ["python", "-c"]
        named = re.search(r"F = (\{.*?\});", words[2])
        assert named is not None
        assert ast.literal_eval(named[1]) == {
            "pretrained_model_name_or_path": str(folder),
            "gguf_file": "small-q4_1.gguf",
        }


def test_a_folder_of_texts_is_called_so(tmp_path):
    (tmp_path / "train.jsonl").write_text("{}")
    with pytest.raises(ModelError, match="No model can be read") as caught:
        open_source(tmp_path)
    assert caught.value.received == "train.jsonl"
    assert caught.value.cause == "this is a folder of texts"
    assert f"text:{tmp_path}" in str(caught.value.fix)


def test_a_file_of_weights_is_sent_to_its_folder(tmp_path):
    folder = saved(tmp_path / "one")
    with pytest.raises(ModelError, match="is a file, and a model is a folder") as caught:
        open_source(folder / "model.safetensors")
    assert str(folder) in str(caught.value.fix)


def test_a_config_that_cannot_be_read_says_why(tmp_path):
    folder = saved(tmp_path / "one")
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match="No model can be read") as caught:
        open_source(folder)
    assert "JSON" in str(caught.value.received)


@pytest.mark.parametrize("changes", [{"num_hidden_layers": "two"}, {"num_attention_heads": 5, "head_dim": None}])
def test_a_config_that_contradicts_itself_says_where(changes, tmp_path):
    folder = saved(tmp_path / "one")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises(ModelError, match="No model can be read") as caught:
        open_source(folder)
    assert str(next(iter(changes.values()))) in str(caught.value.received)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": 1}}'])
def test_a_damaged_index_is_named(text, tmp_path):
    folder = saved(tmp_path / "many", max_shard_size="20KB")
    (folder / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ModelError, match=r"index\.json cannot be read"):
        open_source(folder)
