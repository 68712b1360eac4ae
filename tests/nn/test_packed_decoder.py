"""A decoder of packed layers is the spiking decoder it was packed from, to everybody who looks at it."""

from __future__ import annotations

import copy

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from darkit_nb.evaluate import energy_report, measure_spikes, model_facts
from darkit_nb.functional.weight import QuantisedWeight, weight_encode
from darkit_nb.nn.linear import SpikeLinear
from darkit_nb.nn.packed_linear import PackedSpikeLinear
from darkit_nb.records.spike_spec import SpikeSpec
from darkit_nb.spikify import spikify
from darkit_nb.trace import trace_model


def pair() -> tuple[LlamaForCausalLM, LlamaForCausalLM]:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
    )
    spiking = spikify(LlamaForCausalLM(config), SpikeSpec(ranges="own")).eval()
    packed = copy.deepcopy(spiking)
    for name, layer in list(packed.named_modules()):
        if isinstance(layer, SpikeLinear):
            whole = QuantisedWeight(((None, weight_encode(layer.matrix.detach(), 4)),), layer.matrix.shape)
            made = PackedSpikeLinear.from_weight(whole, layer.bias, layer.spec, layer.salient)
            packed.set_submodule(name, made.eval())
    return spiking, packed


def test_logits_spikes_energy_and_tree_are_the_same() -> None:
    spiking, packed = pair()
    ids = torch.randint(0, 97, (1, 16), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(packed(ids).logits, spiking(ids).logits)
    reports = [measure_spikes(model, [ids]) for model in (spiking, packed)]
    assert reports[0] == reports[1]
    assert energy_report(packed, reports[1]) == energy_report(spiking, reports[0])
    assert model_facts(packed, 16) == model_facts(spiking, 16)
    trees = [{node.path: node for node in trace_model(model, ids).nodes} for model in (spiking, packed)]
    one, other = (tree["model.layers.0.mlp.up_proj"] for tree in trees)
    assert (one.class_name, other.class_name) == ("SpikeLinear", "PackedSpikeLinear")
    assert (one.kind, one.spikes, one.own_macs) == (other.kind, other.spikes, other.own_macs)


def test_generation_with_a_cache_is_generation_without() -> None:
    _, packed = pair()
    prompt = torch.randint(0, 97, (1, 5), generator=torch.Generator().manual_seed(2))
    settings = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    found = [packed.generate(prompt, use_cache=cached, **settings) for cached in (True, False)]
    assert torch.equal(*found)
