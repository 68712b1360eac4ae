"""The cache of codes: the same text as without a cache, in a fraction of the bytes, through all a cache must do."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import DynamicCache, StaticCache

from darkit_nb.errors import ModelError
from darkit_nb.evaluate.token_meter import TokenMeter
from darkit_nb.models.build import build_model
from darkit_nb.nn.gif import GIF
from darkit_nb.records.spike_spec import SpikeSpec
from darkit_nb.spikify import spikify, spiking_modules, unspikify
from darkit_nb.spikify.code_cache import CodedStates, SpikeCodeLayer, SpikeCodeSlidingLayer, cache_bytes

FAMILIES = ["spike-llama-nano", "spike-qwen-nano", "spike-mistral-nano", "spike-gpt2-nano", "spike-opt-nano"]
PROMPT, NEW = 12, 6


def spiking(preset: str = "spike-llama-nano", **spec):
    depth = {"n_layer": 2} if "gpt2" in preset else {"num_hidden_layers": 2}
    window = {"sliding_window": 8} if "mistral" in preset else {}
    model = build_model(preset, vocab_size=260, seq_len=64, overrides={**depth, **window}, eos_id=256, pad_id=257)
    model.generation_config.eos_token_id = None  # texts of one length
    model = spikify(model.eval(), SpikeSpec(attention=True, **spec))
    random = torch.Generator().manual_seed(5)
    for neuron in spiking_modules(model).values():  # salient features of every head, as a training would choose
        neuron.salient.copy_(torch.rand(neuron.salient.shape, generator=random) < 0.1)
    return model


def tokens(batch: int = 2, length: int = PROMPT) -> torch.Tensor:
    return torch.randint(0, 256, (batch, length), generator=torch.Generator().manual_seed(3))


def generate(model, ids: torch.Tensor, **more):
    return model.generate(
        ids, max_new_tokens=NEW, do_sample=False, return_dict_in_generate=True, output_logits=True, **more
    )


def close_enough(found, expected) -> None:
    """The same tokens, from the same logits: a rounding can move a count, so not every step has to agree."""
    assert torch.equal(found.sequences, expected.sequences)
    apart = [float((one - other).abs().max()) for one, other in zip(found.logits, expected.logits, strict=True)]
    assert sorted(apart)[len(apart) // 2] < 1e-4, apart
    assert max(apart) < 1


@pytest.mark.parametrize(
    ("preset", "spec"),
    [*((preset, {}) for preset in FAMILIES), (FAMILIES[0], {"coding": "radix", "ranges": "own"})],
    ids=str,
)
def test_text_is_that_without_a_cache_and_bytes_are_few(preset: str, spec: dict):
    model = spiking(preset, **spec)
    found = generate(model, tokens())
    close_enough(found, generate(model, tokens(), use_cache=False))
    cache = found.past_key_values
    kind = SpikeCodeSlidingLayer if "mistral" in preset else SpikeCodeLayer
    assert all(type(layer) is kind for layer in cache.layers)
    assert cache.get_seq_length() == PROMPT + NEW - 1
    states = [each for layer in cache.layers for each in (layer.keys, layer.values)]
    assert all(isinstance(each, CodedStates) for each in states)
    assert states[0].shape[-2] == (7 if "mistral" in preset else PROMPT + NEW - 1)
    smaller = sum(each.numel() for each in states) * 4 / cache_bytes(cache)
    assert 4 < smaller < 6.2


def test_fewer_bytes_are_really_held():
    """The storages themselves, not what a property says."""
    cache = generate(spiking(), tokens()).past_key_values
    held = {
        part.untyped_storage().data_ptr(): part.untyped_storage().nbytes()
        for layer in cache.layers
        for states in (layer.keys, layer.values)
        for part in states.packed.parts
        if part is not None
    }
    assert sum(held.values()) == cache_bytes(cache)


@pytest.mark.parametrize("preset", ["spike-llama-nano", "spike-mistral-nano"])
def test_beams_are_reordered(preset: str):
    model = spiking(preset)
    settings = {"max_new_tokens": NEW, "do_sample": False, "num_beams": 2, "num_return_sequences": 2}
    found = model.generate(tokens(), **settings)
    assert torch.equal(found, model.generate(tokens(), use_cache=False, **settings))


def test_prompts_of_different_length_are_padded():
    model = spiking()
    ids, seen = tokens(), torch.ones(2, PROMPT, dtype=torch.long)
    ids[0, :5], seen[0, :5] = 257, 0
    found = generate(model, ids, attention_mask=seen)
    close_enough(found, generate(model, ids, attention_mask=seen, use_cache=False))
    alone = generate(model, ids[:1, 5:])
    assert torch.equal(found.sequences[:1, PROMPT:], alone.sequences[:, PROMPT - 5 :])


@torch.no_grad()
def test_what_a_cache_must_do():
    model = spiking()
    ids = tokens(3)
    cache = DynamicCache()
    model(ids, past_key_values=cache)
    code = cache.layers[1].values.code()
    kept = copy.deepcopy(cache)

    cache.crop(-4)
    assert cache.get_seq_length() == PROMPT - 4
    assert torch.equal(cache.layers[1].values.code().counts, code.counts[:, :, :-4])
    again = model(ids[:, -4:], past_key_values=cache).logits
    torch.testing.assert_close(again, model(ids, use_cache=False).logits[:, -4:], rtol=0, atol=1e-4)
    assert torch.equal(cache.layers[1].values.code().counts, code.counts)

    kept.reorder_cache(torch.tensor([2, 0, 0]))
    assert torch.equal(kept.layers[0].keys.decoded(), cache.layers[0].keys.decoded()[[2, 0, 0]])
    kept.batch_select_indices(torch.tensor([0, 2]))
    kept.batch_repeat_interleave(2)
    assert torch.equal(kept.layers[0].keys.decoded(), cache.layers[0].keys.decoded()[[2, 2, 0, 0]])
    assert all(isinstance(layer.keys, CodedStates) for layer in kept.layers)
    kept.reset()
    assert kept.get_seq_length() == 0
    assert cache_bytes(kept) == 0
    torch.testing.assert_close(model(ids, past_key_values=kept).logits, model(ids, use_cache=False).logits)


@torch.no_grad()
def test_coded_states_are_their_values_to_everybody_else():
    model = spiking()
    cache = DynamicCache()
    model(tokens(), past_key_values=cache)
    keys = cache.layers[0].keys
    values = keys.code().dequantise()
    assert torch.equal(keys + 1, values + 1)
    assert torch.equal(keys.transpose(1, 2), values.transpose(1, 2))
    assert torch.equal(keys[..., :3], values[..., :3])
    assert torch.equal(torch.cat([keys, values], -2), torch.cat([values, values], -2))
    assert "bytes" in repr(keys)
    assert isinstance(keys[:, :, 2:5].to(torch.float64), CodedStates)
    assert torch.equal(keys.to(torch.float64) * 1, values.double())


@torch.no_grad()
def test_a_later_token_changes_no_code_of_an_earlier_one():
    model, ids = spiking(), tokens(1, 20)
    changed = ids.clone()
    changed[0, 15:] = 7
    caches = [DynamicCache(), DynamicCache()]
    for cache, text in zip(caches, (ids, changed), strict=True):
        model(text, past_key_values=cache)
    for one, other in zip(*(cache.layers for cache in caches), strict=True):
        for name in ("keys", "values"):
            counts = [getattr(layer, name).code().counts for layer in (one, other)]
            assert torch.equal(counts[0][:, :, :15], counts[1][:, :, :15])
            assert not torch.equal(counts[0], counts[1])


@torch.no_grad()
def test_spikes_are_heard_as_without_codes():
    """Who counts spikes gets those of every token in sight, at every step."""
    model = spiking()
    heard: list[torch.Tensor] = []
    neuron = model.get_submodule("model.layers.0.self_attn.spike_keys")
    assert isinstance(neuron, GIF)
    neuron.spike_listener = lambda module, code: heard.append(code.counts)
    cache = DynamicCache()
    model(tokens(), past_key_values=cache)
    model(tokens()[:, :1], past_key_values=cache)
    assert [each.shape[-2] for each in heard] == [PROMPT, PROMPT + 1]
    assert torch.equal(heard[1][:, :, :-1], heard[0])
    neuron.spike_listener = None
    meter = TokenMeter(model)
    with meter.measuring(PROMPT + 1) as work:
        model(tokens(1)[:, :1], past_key_values=generate(model, tokens(1)).past_key_values)
    assert work.firing_rate is not None


def test_where_a_gradient_goes_states_stay_float():
    model = spiking()
    out = model(tokens())
    assert not isinstance(out.past_key_values.layers[0].keys, CodedStates)
    out.logits.sum().backward()
    with torch.no_grad():
        coded = model(tokens()).past_key_values
        follow = model(tokens()[:, :1], past_key_values=out.past_key_values).logits
        torch.testing.assert_close(
            follow, model(tokens()[:, :1], past_key_values=copy.deepcopy(coded)).logits, rtol=0, atol=1e-4
        )
    with pytest.raises(ModelError, match="no gradient"):
        model(tokens()[:, :1], past_key_values=coded)


@torch.no_grad()
def test_a_choice_made_meanwhile_is_for_the_next_cache():
    model = spiking()
    cache = model(tokens()).past_key_values
    before = cache.layers[0].keys.decoded()
    model.get_submodule("model.layers.0.self_attn.spike_keys").salient.logical_not_()
    model(tokens()[:, :1], past_key_values=cache)
    assert torch.equal(cache.layers[0].keys.decoded()[:, :, :-1], before)


def test_a_static_cache_holds_float_states_and_gives_the_same_text():
    model = spiking()
    expected = generate(model, tokens(1))
    static = StaticCache(config=model.config, max_cache_len=PROMPT + NEW)
    found = generate(model, tokens(1), past_key_values=static)
    assert torch.equal(found.sequences, expected.sequences)
    assert not isinstance(static.layers[0].keys, CodedStates)


def test_half_precision_generates_too():
    model = spiking().to(torch.bfloat16)
    found = generate(model, tokens())
    states = found.past_key_values.layers[0].keys
    assert states.dtype == torch.bfloat16
    assert states.numel() * 2 / states.packed.nbytes > 2.3
    assert bool(torch.stack(found.logits).isfinite().all())


def test_a_float_model_is_left_alone_again():
    model = unspikify(spiking())
    assert not any(module._forward_pre_hooks for module in model.modules())
    cache = generate(model, tokens()).past_key_values
    assert not isinstance(cache.layers[0].keys, CodedStates)


def test_a_copy_of_a_model_has_codes_of_its_own():
    twin = copy.deepcopy(spiking())
    cache = generate(twin, tokens()).past_key_values
    assert cache.layers[0].neurons[0] is twin.get_submodule("model.layers.0.self_attn.spike_keys")
    unspikify(twin)
    assert not any(module._forward_pre_hooks for module in twin.modules())
