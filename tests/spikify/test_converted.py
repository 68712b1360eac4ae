"""A converted model in another precision: codes, scales and transforms stay as they were made, whoever casts it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Module
from transformers import AutoModelForCausalLM, PreTrainedModel

from darkit_nb.config.conversions import preset
from darkit_nb.convert import convert_model
from darkit_nb.nn.packed_linear import PackedLinear, PackedSpikeLinear
from darkit_nb.spikify import load_model
from tests.convert.decoders import decoder

IDS = torch.randint(2, 97, (6, 20), generator=torch.Generator().manual_seed(1))
EXACT = ("packed_", "scale_", "zero_", "columns_", "salient", "signs", "left", "right")
"""What a layer of codes is made of: rounding any of it would change every weight, or what undoes a transform."""

CASTS: dict[str, Callable[[Path], Any]] = {
    "dtype of load_model": lambda folder: load_model(folder, dtype=torch.bfloat16),
    "dtype of from_pretrained": lambda folder: AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16),
    "to": lambda folder: Module.to(load_model(folder), torch.bfloat16),
}


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Folder of a converted model, made once for each way to make it."""
    made: dict[tuple[str, str], Path] = {}

    def folder(name: str, bits: str, **changes: Any) -> Path:
        if (name, bits) not in made:
            out = tmp_path_factory.mktemp("models") / "out"
            spec = preset(name, bits=bits, samples=6, sample_length=20, **changes)
            convert_model(decoder("llama", dtype=torch.float32), spec, calibration=IDS, out=out)
            made[name, bits] = out
        return made[name, bits]

    return folder


def logits_of(model: Any) -> Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits.float()


def bits_of(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if name.rpartition(".")[2].startswith(EXACT)}


@pytest.mark.parametrize("cast", CASTS)
@pytest.mark.parametrize(
    ("name", "bits", "changes"),
    [
        ("gptq", "W4A16", {}),
        ("darkit", "W8A8", {"spike": {"attention": True}}),
        ("flatquant", "W8A8", {"refine_epochs": 1}),
    ],
)
def test_half_precision_changes_no_code_scale_or_transform(converted, name, bits, changes, cast):
    folder = converted(name, bits, **changes)
    exact, model = load_model(folder), CASTS[cast](folder)
    assert model.dtype == torch.bfloat16
    wanted, found = bits_of(exact), bits_of(model)
    kinds = {key.rpartition(".")[2].rstrip("0123456789") for key in wanted}
    assert {"packed_", "scale_", "zero_"} <= kinds
    assert wanted.keys() == found.keys()
    for key, value in wanted.items():
        assert value.dtype == found[key].dtype, key
        assert torch.equal(value, found[key]), key
    for module, other in zip(exact.modules(), model.modules(), strict=True):
        if isinstance(module, PackedLinear | PackedSpikeLinear):
            assert isinstance(other, PackedLinear | PackedSpikeLinear)
            assert torch.equal(module.weight, other.weight)
            assert module.bias is not None
            assert other.bias is not None
            assert torch.equal(module.bias, other.bias)
            assert other.bias.dtype == torch.float32
    expected = logits_of(exact)
    floating = decoder("llama", dtype=torch.float32)
    before, rounded = logits_of(floating), logits_of(Module.to(floating, torch.bfloat16))
    # What bfloat16 costs the float model, and a code that rounding tips over to its neighbour here and there.
    assert (logits_of(model) - expected).norm() / expected.norm() < 2 * (rounded - before).norm() / before.norm() + 0.01


def test_a_model_cast_and_saved_is_the_same_when_loaded_in_full_precision(converted, tmp_path):
    folder = converted("darkit", "W8A8", spike={"attention": True})
    load_model(folder, dtype=torch.bfloat16).save_pretrained(tmp_path / "half")
    wanted, found = bits_of(load_model(folder)), bits_of(load_model(tmp_path / "half", dtype=torch.float32))
    assert wanted.keys() == found.keys()
    assert all(torch.equal(value, found[key]) for key, value in wanted.items())


@pytest.mark.parametrize("cast", ["half", "float"])
def test_casts_that_transformers_does_not_do_to_quantised_models_are_refused(converted, cast):
    model = load_model(converted("gptq", "W4A16"))
    with pytest.raises(ValueError, match="is not supported for quantized model"):
        getattr(model, cast)()


SHARING = [
    ("rtn", "W4A4", {}),
    ("darkit", "W4A4", {"spike": {"attention": True}}),
    ("flatquant", "W8A8", {"refine_epochs": 1}),
    ("spikellm-gptq", "ternary", {}),
]


@pytest.mark.parametrize(("name", "bits", "changes"), SHARING)
def test_with_a_cache_or_without_a_model_of_grouped_queries_says_the_same(converted, name, bits, changes):
    model: Any = load_model(converted(name, bits, **changes))
    assert model.config.num_key_value_heads < model.config.num_attention_heads
    settings = {"max_new_tokens": 12, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    with torch.no_grad():
        cached, plain = (model.generate(IDS[:2, :7], use_cache=use, **settings) for use in (True, False))
    assert torch.equal(cached.sequences, plain.sequences)
    for found, wanted in zip(cached.logits, plain.logits, strict=True):
        # Attention over one query sums in another order than over many, which tips a code over here and there.
        assert (found - wanted).norm() < 0.01 * wanted.norm()


@pytest.mark.parametrize(("name", "bits", "changes"), SHARING[:3])
def test_a_loaded_model_encodes_once_what_several_layers_read(converted, name, bits, changes):
    model = load_model(converted(name, bits, **changes))
    shared = {id(layer.shared_input) for layer in model.modules() if isinstance(layer, PackedSpikeLinear)}
    assert len(shared - {id(None)}) == 2 * model.config.num_hidden_layers
    together = logits_of(model)
    for layer in model.modules():
        if isinstance(layer, PackedSpikeLinear):
            layer.shared_input = None
    assert torch.equal(together, logits_of(model))
