"""Trained pipelines through the whole driver, and weights that aim at the float stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from darkit_nb.config.conversions import conversion_preset
from darkit_nb.convert.driver import ConversionStopped, convert_model
from darkit_nb.nn.kronecker import KroneckerTransform
from darkit_nb.nn.packed_linear import PackedLinear, PackedSpikeLinear
from darkit_nb.records.conversion import ConversionReport
from darkit_nb.spikify import load_model

SIZE: dict[str, Any] = {"samples": 4, "sample_length": 16}


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=24, intermediate_size=36, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=40, max_position_embeddings=32,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def converted(model: LlamaForCausalLM, out: Path, name: str, **changes: Any) -> ConversionReport:
    ids = torch.randint(0, 40, (4, 16), generator=torch.Generator().manual_seed(1))
    return convert_model(model, conversion_preset(name, **SIZE, **changes), calibration=ids, out=out)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("omniquant", {}),
        ("omniquant", {"bits": "W2A16"}),
        ("spikellm-omniquant", {}),
        ("spikellm-omniquant", {"paper_codes": True, "spike": {"attention": True}}),
        ("flatquant", {}),
    ],
)
def test_a_trained_pipeline_converts_and_loads(model: LlamaForCausalLM, tmp_path: Path, name: str, changes: dict):
    report = converted(model, tmp_path / "out", name, refine_epochs=2, **changes)
    assert [len(block.losses) for block in report.blocks] == [2, 2]
    loaded = load_model(tmp_path / "out")
    layers = [module for module in loaded.modules() if isinstance(module, PackedLinear | PackedSpikeLinear)]
    assert len(layers) == 14
    if name == "spikellm-omniquant":
        # Tenths of 24 and 36 features; the published quantile rounds up.
        assert {int(layer.salient.sum()) for layer in layers} == ({3, 4} if "paper_codes" in changes else {2, 4})
    if name == "flatquant":
        assert all(isinstance(layer.rotation, KroneckerTransform) for layer in layers)
    ids = torch.randint(0, 40, (1, 12))
    with torch.no_grad():
        found, wanted = loaded(input_ids=ids).logits, model(input_ids=ids).logits
    assert (found - wanted).norm() < 0.5 * wanted.norm()


def test_weights_that_aim_at_the_float_stream_miss_it_by_less(model: LlamaForCausalLM, tmp_path: Path):
    plain = converted(model, tmp_path / "plain", "quarot", float_target=False)
    aimed = converted(model, tmp_path / "aimed", "quarot", float_target=True, target_damping=0.2)
    assert aimed.blocks[-1].error < 0.9 * plain.blocks[-1].error
    whole = converted(model, tmp_path / "whole", "quarot", float_target=True, target_damping=0.2, residual_target=True)
    assert whole.blocks[-1].error < 0.95 * aimed.blocks[-1].error


@pytest.mark.parametrize("name", ["spikellm-omniquant", "flatquant"])
def test_a_trained_conversion_goes_on_with_the_same_bits(model: LlamaForCausalLM, tmp_path: Path, name: str):
    converted(model, tmp_path / "whole", name, refine_epochs=1)
    ids = torch.randint(0, 40, (4, 16), generator=torch.Generator().manual_seed(1))
    spec = conversion_preset(name, **SIZE, refine_epochs=1)
    asked = iter([False, True])
    with pytest.raises(ConversionStopped):
        convert_model(model, spec, calibration=ids, out=tmp_path / "cut", should_stop=lambda: next(asked))
    report = convert_model(model, spec, calibration=ids, out=tmp_path / "cut")
    assert report.blocks[0].resumed
    assert not report.blocks[1].resumed
    one, other = (load_file(tmp_path / folder / "model.safetensors") for folder in ("whole", "cut"))
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[key]) for key, value in one.items())
