"""spikify, unspikify, saving and loading, generation: on five families of decoders."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from darkit_nb.errors import ConfigError, ModelError
from darkit_nb.models.build import build_model
from darkit_nb.nn.linear import SpikeLinear
from darkit_nb.records.spike_spec import SpikeSpec
from darkit_nb.spikify import DarkitConfig, load_model, spikify, spiking_modules, unspikify

FAMILIES = ["spike-llama-nano", "spike-qwen-nano", "spike-mistral-nano", "spike-gpt2-nano", "spike-opt-nano"]


def small(preset: str = "spike-llama-nano", **overrides):
    depth = {"n_layer": 2} if "gpt2" in preset else {"num_hidden_layers": 2}
    return build_model(preset, vocab_size=260, seq_len=64, overrides={**depth, **overrides}, eos_id=256, pad_id=257)


def tokens(batch: int = 2, length: int = 24) -> torch.Tensor:
    return torch.randint(0, 256, (batch, length), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("preset", FAMILIES)
def test_a_decoder_spikes_trains_generates_round_trips_and_comes_back(preset: str, attention: bool, tmp_path):
    model = small(preset).eval()
    ids = tokens()
    before, keys, modules = model(ids).logits, set(model.state_dict()), dict(model.named_modules())
    parameters = dict(model.named_parameters())

    assert spikify(model, SpikeSpec(attention=attention)) is model
    linears = sum(type(module) in (nn.Linear, Conv1D) for module in modules.values()) - 1  # all but the head
    assert len(spiking_modules(model)) == linears + (4 if attention else 0)
    assert all(dict(model.named_parameters())[name] is parameter for name, parameter in parameters.items())

    model.train()
    model(ids, labels=ids).loss.backward()
    assert all(parameter.grad is not None for parameter in parameters.values())
    model.eval()
    spiking = model(ids).logits
    assert not torch.equal(spiking, before)

    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["quantization_config"]["quant_method"] == "darkit"
    assert torch.equal(AutoModelForCausalLM.from_pretrained(tmp_path)(ids).logits, spiking)

    cached = model.generate(ids[:1, :8], max_new_tokens=10, do_sample=False)
    assert torch.equal(cached, model.generate(ids[:1, :8], max_new_tokens=10, do_sample=False, use_cache=False))

    assert unspikify(model) is model
    assert torch.equal(model(ids).logits, before)
    assert set(model.state_dict()) == keys
    assert all(dict(model.named_modules())[name] is module for name, module in modules.items())
    assert not hasattr(model.config, "quantization_config")


def test_a_reloaded_model_keeps_masks_statistics_and_can_come_back(tmp_path):
    model = spikify(small()).train()
    model(tokens(), labels=tokens()).loss.backward()
    model.save_pretrained(tmp_path)
    again = load_model(tmp_path)
    for name, module in spiking_modules(model).items():
        other = spiking_modules(again)[name]
        assert torch.equal(module.salient, other.salient)
        assert torch.equal(module.statistic, other.statistic)
        assert int(other.forwards) == 1
    unspikify(again)
    assert torch.equal(again(tokens()).logits, unspikify(model).eval()(tokens()).logits)


def test_a_float_checkpoint_becomes_spiking_while_loading(tmp_path):
    model = small().eval()
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(
        tmp_path, quantization_config=DarkitConfig(spike=SpikeSpec().to_dict())
    ).eval()
    assert torch.equal(loaded(tokens()).logits, spikify(model)(tokens()).logits)


def test_the_optimizer_built_before_goes_on_working():
    model = small().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    spikify(model)
    ids, losses = tokens(), []
    for _ in range(8):
        loss = model(ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5


def test_patterns_choose_the_layers():
    model = spikify(small(), include=("*.mlp.*",), exclude=("*.layers.1.*",))
    assert sorted(spiking_modules(model)) == [f"model.layers.0.mlp.{name}_proj" for name in ("down", "gate", "up")]


def test_any_module_with_linear_layers_can_spike_and_shared_layers_stay_shared():
    shared = nn.Linear(8, 8)
    net = nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(8, 2))
    spikify(net, exclude=())
    assert net[0] is net[2]
    assert isinstance(net[0], SpikeLinear)
    unspikify(net)
    assert net[0] is shared
    assert net[2] is shared


def test_keys_and_values_are_causal_with_grouped_heads():
    model = spikify(small(), attention=True).eval()
    ids = tokens(1, 20)
    changed = ids.clone()
    changed[0, 15:] = 7
    assert torch.equal(model(ids).logits[:, :15], model(changed).logits[:, :15])


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: spikify(spikify(small())), ModelError, "spiking already"),
        (lambda: spikify(small(), include=("*.nothing",)), ModelError, "No linear layer matches"),
        (lambda: spikify(nn.Sequential(nn.Linear(4, 4)), attention=True), ModelError, "attention=False"),
        (lambda: spikify(small(), num_levels=1), ConfigError, "num_levels"),
        (lambda: spikify(small(), coding="radix", num_levels=256, num_steps=4), ConfigError, "codes up to"),
        (lambda: spikify(small(), coding="paper", num_levels=3), ConfigError, "powers of two"),
        (lambda: SpikeSpec.from_dict({"levels": 3}), ConfigError, "newer version"),
        (lambda: DarkitConfig(spike={}, schema=99), ModelError, "newer version"),
        (lambda: build_model("spike-llama-nano", overrides={"hidden": 3}), ModelError, "no such setting"),
        (lambda: build_model("spike-llama-nano", overrides={"num_attention_heads": 7}), ModelError, "heads"),
    ],
)
def test_misuse_is_refused_with_its_reason(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_loading_nothing_says_what_is_expected(tmp_path):
    with pytest.raises(ModelError, match="safetensors"):
        load_model(tmp_path / "nowhere")


def test_a_pickled_checkpoint_is_refused(tmp_path):
    model = small()
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError):
        load_model(tmp_path)


def test_weights_do_not_depend_on_or_disturb_the_global_random_state():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one = small()
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(99)
    assert torch.equal(one.lm_head.weight, small().lm_head.weight)
