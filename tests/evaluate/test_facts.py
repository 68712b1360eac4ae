"""Float work is derived from what really ran, and agrees with torch's own FLOP counter."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from darkit_nb.evaluate import measure_spikes, model_facts
from darkit_nb.evaluate.facts import rotation_work
from darkit_nb.functional.rotation import mixing_matrix
from darkit_nb.nn.kronecker import KroneckerTransform
from darkit_nb.nn.rotation import OnlineRotation
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


class Mixed(nn.Module):
    """A layer behind a rotation, and one behind a learned transform, over embedded tokens."""

    def __init__(self, rotation: OnlineRotation) -> None:
        super().__init__()
        self.table = nn.Embedding(32, rotation.features)
        self.rotation, self.learned = rotation, KroneckerTransform(4, 10)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.learned(self.rotation(self.table(ids)))


def test_rotating_while_the_model_runs_is_counted_by_its_butterflies_and_its_odd_axis():
    rotation = OnlineRotation([16, 24], seed=0)
    facts = model_facts(Mixed(rotation), 5)
    mixing = {part.name: part for part in facts.mixing}
    assert {part.name for part in facts.parts} == {"embeddings"}
    # 16 = 2⁴ and 24 = 2³ · 3.
    found = mixing["online rotation"]
    assert (found.additions, found.macs, found.multiplications) == (16 * 4 + 24 * 3, 24 * 3, 40)
    assert mixing["learned transform"].macs == 40 * (4 + 10)
    rotation.keep = 0.9
    cut = {part.name: part for part in model_facts(Mixed(rotation), 5).mixing}["online rotation"]
    assert cut.additions == found.additions + 4 * 24


@pytest.mark.parametrize("width", [64, 96, 7, 40])
def test_the_work_of_a_rotation_is_that_of_its_small_matrices_when_each_axis_is_mixed_alone(width: int):
    """Counted by doing it: an axis of two is an addition a feature, an axis of m is m products."""
    x, steps = torch.randn(width), {"additions": 0, "macs": 0}
    y, left = x.clone().double(), width
    while left % 2 == 0:
        left //= 2
        pairs = y.reshape(-1, 2, left)
        y = torch.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], 1).reshape(-1)
        steps["additions"] += width
    if left > 1:
        y = (y.reshape(-1, left) @ mixing_matrix(left)).reshape(-1)
        steps["macs"] += width * left
    expected = OnlineRotation([width])(x.double())
    torch.testing.assert_close(y / (width // left) ** 0.5, expected)
    assert rotation_work(OnlineRotation([width])) == {**steps, "multiplications": width}
