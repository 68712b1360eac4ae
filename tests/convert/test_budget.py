"""Sharing a budget of steps out among the inputs of layers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from darkit_nb.config.conversions import preset
from darkit_nb.convert.allocate import step_benefit
from darkit_nb.convert.budget import GroupFacts, GroupWatch, offered, shared_out
from darkit_nb.convert.driver import convert_model
from darkit_nb.errors import ConfigError
from darkit_nb.functional.gif import gif_quantise
from darkit_nb.functional.spike_linear import neuron_settings
from darkit_nb.records.spike_spec import SpikeSpec
from darkit_nb.spikify import load_model

RADIX = SpikeSpec(coding="radix", ranges="own", salient_fraction=0.125)
SHARED = SpikeSpec(coding="radix", salient_fraction=0.125)


def facts(features: int = 64, outputs: int = 16, spread: float = 1.0, fixed: bool = False, **changes) -> GroupFacts:
    changes = {"offers": offered(RADIX, lambda share: round(share * features), fixed=fixed), **changes}
    square = torch.logspace(spread, -spread, features, dtype=torch.float64)
    fields = {"column": torch.ones(features, dtype=torch.float64), "range_square": 30 * float(square.mean())}
    return GroupFacts(**{**fields, "square": square, "outputs": outputs, "mixed": True, **changes})


def test_a_shared_range_gives_the_benefit_of_each_feature_and_no_more():
    group = facts(column=torch.rand(64, dtype=torch.float64))
    step = torch.full((64,), group.range_square**0.5 / 15, dtype=torch.float64)
    weight = group.column.sqrt().unsqueeze(0)
    lost = step_benefit(weight, step, 4.0)
    assert group.error(0, SHARED) - group.error(8, SHARED) == pytest.approx(float(lost[:8].sum()), rel=2e-3)


@pytest.mark.parametrize("mixed", [False, True])
def test_the_estimate_follows_the_error_that_spikes_make(mixed: bool):
    """On Gaussian features of falling variance, whole against split, for several shares."""
    torch.manual_seed(0)
    features, weight = 64, torch.randn(24, 64, dtype=torch.float64)
    x = torch.randn(4000, features, dtype=torch.float64) * torch.logspace(0.7, -0.7, features, dtype=torch.float64)
    layer = nn.Linear(features, 24, bias=False).double()
    layer.weight.data = weight
    watch = GroupWatch([layer])
    watch.update(x)
    group = watch.facts(RADIX, mixed=mixed, offers=())
    found, told = [], []
    order = torch.sort(x.square().mean(0) * weight.square().sum(0), descending=True).indices
    for count in (4, 8, 16):
        mask = torch.zeros(features, dtype=torch.bool)
        mask[order[:count]] = True
        parts = [x[:, order[:count]], x[:, order[count:]]]
        if mixed:  # each part mixed within itself
            turns = [torch.linalg.qr(torch.randn(p.shape[1], p.shape[1], dtype=torch.float64))[0] for p in parts]
            codes = [p @ turn for p, turn in zip(parts, turns, strict=True)]
        else:
            codes, turns = parts, [torch.eye(p.shape[1], dtype=torch.float64) for p in parts]
        joined = torch.cat(codes, 1)
        coded = gif_quantise(joined, salient=torch.arange(features) < count, **neuron_settings(RADIX))
        back = torch.block_diag(*turns).T
        missed = (coded - joined) @ back @ weight[:, order].T
        found.append(float(missed.square().sum(1).mean()))
        told.append(group.error(count, RADIX))
    assert found == sorted(found, reverse=True)
    assert told == sorted(told, reverse=True)
    for one, other in zip(found, told, strict=True):
        assert 0.4 < other / one < 2.5


def test_steps_go_where_they_save_most_and_never_beyond_the_budget():
    groups = {"peaked": facts(spread=2.0), "flat": facts(spread=0.1), "dear": facts(outputs=160, spread=0.5)}
    work = sum(group.features * group.outputs for group in groups.values())
    for budget in (1.0, 1.05, 1.125, 1.5):
        shares = shared_out(groups, RADIX, budget)
        steps = sum(g.features * g.outputs * (1 + shares[name]) for name, g in groups.items()) / work
        assert steps <= budget + 1e-9
        assert steps > 1 or budget == 1.0
    shares = shared_out(groups, RADIX, 1.05)
    assert shares["peaked"] > shares["flat"]
    assert shared_out(groups, RADIX, 1.0) == dict.fromkeys(groups, 0.0)


def test_a_fixed_group_keeps_its_share_and_a_budget_below_it_is_refused():
    groups = {"norm": facts(fixed=True), "free": facts()}
    assert shared_out(groups, RADIX, 1.125)["norm"] == 0.125
    with pytest.raises(ConfigError, match="budget"):
        shared_out(groups, RADIX, 1.01)


def test_heads_are_ranked_by_their_principal_directions():
    torch.manual_seed(1)
    layer = nn.Linear(8, 5, bias=False).double()
    watch = GroupWatch([layer], head=4)
    x = torch.randn(500, 8, dtype=torch.float64) @ torch.randn(8, 8, dtype=torch.float64)
    watch.update(x)
    group = watch.facts(RADIX, mixed=True, offers=())
    wanted = torch.cat([torch.linalg.eigvalsh(x[:, h : h + 4].T @ x[:, h : h + 4] / 500) for h in (0, 4)])
    torch.testing.assert_close(group.square, wanted.sort(descending=True).values)
    torch.testing.assert_close(group.column.sum(), layer.weight.square().sum())


@pytest.mark.parametrize("pipeline", ["darkit", "rtn"])
def test_a_converted_model_keeps_to_its_budget_and_spends_it_unevenly(pipeline: str, tmp_path: Path):
    torch.manual_seed(2)
    config = LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=40, max_position_embeddings=32,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    for name, parameter in model.named_parameters():
        if "down_proj" in name or "norm" in name:  # blocks and groups that differ
            parameter.data *= torch.exp(torch.randn(parameter.shape[-1]))
    spec = preset(
        pipeline, samples=4, sample_length=16, steps_budget=1.2,
        spike={"num_steps": 2, "salient_fraction": 0.125, "coding": "radix", "ranges": "own"},
    )  # fmt: skip
    report = convert_model(model, spec, calibration=torch.randint(0, 40, (4, 16)), out=tmp_path / "out")
    layers = [layer for block in report.blocks for layer in block.layers]
    assert 1.0 < report.mean_steps <= 1.2
    assert len({layer.mean_steps for layer in layers}) > 1
    loaded = load_model(tmp_path / "out")
    assert loaded(input_ids=torch.randint(0, 40, (1, 8))).logits.isfinite().all()
