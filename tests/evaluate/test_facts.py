"""Float work is derived from what really ran, and agrees with torch's own FLOP counter."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from darkit_nb.evaluate import measure_spikes, model_facts
from darkit_nb.records.energy import FloatPart, ModelFacts
from darkit_nb.spikify import spikify
from tests.evaluate.models import Stack, decoder


def parts(facts: ModelFacts) -> dict[str, FloatPart]:
    named = {part.name: part for part in facts.parts}
    assert len(named) == len(facts.parts)
    return named


@pytest.mark.parametrize("family", ["llama", "qwen2", "mistral", "gpt2", "opt"])
@pytest.mark.parametrize("attention", [False, True])
def test_spiking_and_float_products_together_are_what_torch_counts(family: str, attention: bool):
    """FlopCounterMode on the float model sees both the spiking and the float MACs; it ignores the causal mask."""
    window = 16
    model = decoder(family, attn_implementation="eager")
    ids = torch.randint(0, 50, (1, window))
    with FlopCounterMode(display=False) as flops, torch.no_grad():
        model(input_ids=ids, use_cache=False)
    dense_attention = 2 * window * window * 24 * 2  # QKᵀ and PV, all pairs, width 24, two layers
    causal_attention = dense_attention * (window + 1) / (2 * window)
    rotary_table = 3 * window * 2 if family in ("llama", "qwen2", "mistral") else 0  # outer product of 3 frequencies
    model = spikify(model, attention=attention)
    spikes = measure_spikes(model, [ids]).total("dense_macs")
    stays = sum(part.macs for part in model_facts(model, window).parts if part.name != "norms") * window
    counted = spikes + stays - causal_attention + dense_attention
    assert flops.get_total_flops() == pytest.approx(2 * counted, abs=2 * rotary_table)


def test_the_parts_of_a_llama_decoder():
    facts = parts(model_facts(spikify(decoder()), 10))
    assert facts["embeddings"].lookups == 24
    assert facts["norms"].macs == 5 * 24  # two a layer and the last
    assert facts["norms"].weights == 5 * 24
    assert facts["norms"].special == 5
    assert facts["output head"].macs == facts["output head"].weights == 24 * 50
    assert facts["gates"].multiplications == 2 * 40
    assert facts["activation function"].special == 2 * 2 * 40
    assert facts["residual additions"].additions == 2 * 2 * 24
    assert facts["rotary positions"].special == 6
    assert facts["rotation"].multiplications == 2 * 2 * (4 + 2) * 6
    assert facts["attention products"].macs == 2 * 2 * 4 * 5.5 * 6  # layers, products, heads, mean context, width
    assert facts["softmax"].special == 2 * 4 * (5.5 + 1)
    assert {name for name, part in facts.items() if part.origin == "config"} == {
        "attention products",
        "softmax",
        "rotation",
    }
    assert "biases" not in facts


def test_spiking_attention_leaves_softmax_but_no_products():
    facts = parts(model_facts(spikify(decoder(), attention=True), 10))
    assert "attention products" not in facts
    assert "softmax" in facts


def test_layers_that_stay_float_are_named_and_biases_counted():
    facts = parts(model_facts(spikify(decoder("gpt2"), include=("*.mlp.*",)), 8))
    assert facts["float layer c_attn"].macs == 2 * 24 * 72
    assert facts["float layer c_proj"].macs == 2 * 24 * 24
    assert facts["biases"].additions == 2 * (96 + 24)
    assert facts["embeddings"].lookups == 2 * 24
    assert facts["embeddings"].additions == 24
    assert facts["norms"].additions == 5 * 3 * 24
    assert "gates" not in facts


def test_a_model_without_configuration_has_only_what_hooks_see():
    facts = model_facts(spikify(Stack(), include=("up",)), 5)
    assert {part.name: part.macs for part in facts.parts} == {"embeddings": 0, "biases": 0, "float layer down": 210}


def test_sliding_windows_shorten_the_context():
    wide = parts(model_facts(decoder("mistral", sliding_window=None), 40))["attention products"]
    narrow = parts(model_facts(decoder("mistral", sliding_window=4), 40))["attention products"]
    assert narrow.macs / wide.macs == pytest.approx((4 * 37 + 3 + 2 + 1) / (41 * 20))


def test_looking_leaves_no_hook_and_no_mode_behind():
    model = spikify(decoder()).train()
    model_facts(model, 8)
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    assert int(next(m for m in model.modules() if hasattr(m, "forwards")).forwards) == 0
