"""What is written for other programs holds the same weights, and what the format cannot express is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, CompressedTensorsConfig
from transformers.utils.import_utils import is_compressed_tensors_available

from darkit_nb.config.conversions import preset
from darkit_nb.convert import convert_model
from darkit_nb.convert.export import export_compressed_tensors
from darkit_nb.errors import ModelError
from darkit_nb.nn.packed_linear import PackedLinear, PackedSpikeLinear
from darkit_nb.spikify import load_model
from tests.conftest import need
from tests.convert.decoders import decoder

IDS = torch.randint(2, 97, (4, 16), generator=torch.Generator().manual_seed(0))
PLAIN = {"attention_bias": False, "mlp_bias": False}


def converted(tmp_path: Path, name: str, kind: str = "llama", **changes) -> Path:
    model = decoder(kind, dtype=torch.float32, **(PLAIN if kind == "llama" else {}))
    spec = preset(name, samples=4, sample_length=16, **changes)
    convert_model(model, spec, calibration=IDS, out=tmp_path / "ours")
    return tmp_path / "ours"


def bits_of(words: Tensor, bits: int, count: int) -> Tensor:
    """Codes `[R, count]` of a stream of bits, read one bit at a time: as the format describes it, not as we pack it."""
    stream = (words.to(torch.int64).unsqueeze(-1) >> torch.arange(32) & 1).flatten(1)[:, : bits * count]
    return (stream.unflatten(1, (count, bits)) << torch.arange(bits)).sum(-1)


WAYS = [
    ("gptq", "W4A16", {}),
    ("gptq", "W3A16", {"group_size": 8}),
    ("rtn", "W4A8", {}),
    ("rtn", "W8A16", {}),
    ("pb-llm", "ternary", {}),
]


@pytest.mark.parametrize("zero_points", [False, True])
@pytest.mark.parametrize(("name", "bits", "changes"), WAYS)
def test_the_weights_read_by_the_description_of_the_format_are_ours(tmp_path, name, bits, changes, zero_points):
    ours = converted(tmp_path, name, bits=bits, **changes)
    out = export_compressed_tensors(ours, tmp_path / "theirs", zero_points=zero_points)
    tensors, config = load_file(out / "model.safetensors"), json.loads((out / "config.json").read_text())
    group = config["quantization_config"]["config_groups"]["group_0"]
    width, signed = group["weights"]["num_bits"], group["weights"]["symmetric"]
    # Eight bits and a sign have no place in the format.
    assert signed == (not zero_points and bits != "W8A16")
    assert width == min(8, {"ternary": 8}.get(bits, 0) or int(bits[1]) + signed)
    layers = {
        layer: module
        for layer, module in load_model(ours).named_modules()
        if isinstance(module, PackedLinear | PackedSpikeLinear)
    }
    assert len(layers) == 21
    for layer, module in layers.items():
        rows, columns = tensors[f"{layer}.weight_shape"].tolist()
        codes = bits_of(tensors[f"{layer}.weight_packed"], width, columns)
        scale = tensors[f"{layer}.weight_scale"]
        zeros = torch.full_like(scale, 2 ** (width - 1), dtype=torch.int64)
        if not signed:
            zeros = bits_of(tensors[f"{layer}.weight_zero_point"].T, width, rows).T
        each = group["weights"]["group_size"] or columns
        spread = [value.repeat_interleave(each, 1) for value in (zeros, scale)]
        assert torch.equal((codes - spread[0]) * spread[1], module.weight)
    assert (group["input_activations"] is not None) == bits.endswith("A8")
    assert config["quantization_config"]["ignore"] == ["lm_head"]
    assert not any(name.endswith(("statistic", "salient", "packed_0")) for name in tensors)


@pytest.mark.parametrize(("name", "bits", "changes"), [*WAYS, ("rtn", "W4A4", {})])
def test_transformers_and_the_library_of_the_format_load_it(tmp_path, name, bits, changes):
    need("compressed-tensors", is_compressed_tensors_available(), "compressed-tensors is not installed")
    ours = converted(tmp_path, name, bits=bits, **changes)
    expected = load_model(ours)
    # Two ways in: as it lies there, and where zero points are packed by giving back floats at once.
    whole = {"quantization_config": CompressedTensorsConfig(dequantize=True)}
    written = {zero_points: tmp_path / f"theirs-{zero_points}" for zero_points in (False, True)}
    for zero_points, folder in written.items():
        export_compressed_tensors(ours, folder, zero_points=zero_points)
        signed = not zero_points and bits != "W8A16"
        loaded = AutoModelForCausalLM.from_pretrained(folder, **({} if signed else whole)).eval()
        with torch.no_grad():
            theirs, logits = (model(input_ids=IDS).logits for model in (loaded, expected))
        for layer, module in expected.named_modules():
            if isinstance(module, PackedLinear | PackedSpikeLinear):
                assert torch.equal(loaded.get_parameter(f"{layer}.weight"), module.weight)
        if signed or bits.endswith("A16"):  # their quantiser of activations is ours; floats have none
            assert (theirs - logits).norm() < 1e-5 * logits.norm()


@pytest.mark.parametrize(
    ("name", "kind", "changes", "word"),
    [
        ("darkit", "llama", {}, "columns of different bits|rotation"),
        ("quarot", "llama", {}, "rotation while the model runs"),
        ("spikellm-omniquant", "llama", {"refine_epochs": 1}, "steps, ranges"),
        ("spikellm-gptq", "llama", {}, "columns of different bits"),
        ("rtn", "gpt2", {}, "Conv1D"),
    ],
)
def test_what_the_format_has_no_place_for_is_refused(tmp_path, name, kind, changes, word):
    ours = converted(tmp_path, name, kind, **changes)
    with pytest.raises(ModelError, match="cannot be written") as caught:
        export_compressed_tensors(ours, tmp_path / "theirs")
    assert any(each in str(caught.value.received) for each in word.split("|"))
    assert not (tmp_path / "theirs").exists()


def test_a_float_model_is_no_converted_one(tmp_path):
    decoder("llama", dtype=torch.float32).save_pretrained(tmp_path / "float")
    with pytest.raises(ModelError, match="cannot be written"):
        export_compressed_tensors(tmp_path / "float", tmp_path / "theirs")


def test_a_file_in_the_way_of_an_export_is_not_touched(tmp_path):
    ours = converted(tmp_path, "rtn", bits="W4A8")
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ModelError, match="something at") as caught:
        export_compressed_tensors(ours, tmp_path / "thesis.txt")
    assert caught.value.received == "a file"
