"""Block-wise training: what is learned keeps the float function, lowers the error, and is the same every time."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, LlamaForCausalLM, OPTConfig

from darkit_nb.convert import folding, trainable
from darkit_nb.convert.learned_parts import BlockShape
from darkit_nb.convert.refine import Refined, refine_block
from darkit_nb.convert.relations import family_of, widths_of
from darkit_nb.convert.skeleton import Skeleton
from darkit_nb.convert.source import LoadedSource
from darkit_nb.convert.statistics import FeatureStatistics, watching
from darkit_nb.errors import TrainingError
from darkit_nb.functional.gif import gif_quantise
from darkit_nb.functional.spike_linear import neuron_settings
from darkit_nb.records.conversion import ConversionSpec
from darkit_nb.records.spike_spec import Backend, SpikeSpec

LET = {"scaling": "let", "scaling_alpha": 0.75, "weights": "lwc", "refine_epochs": 2, "samples": 4, "sample_length": 16}
LLAMA: dict[str, Any] = {
    "hidden_size": 24, "intermediate_size": 36, "num_hidden_layers": 1, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 40, "max_position_embeddings": 32,
}  # fmt: skip


@dataclasses.dataclass
class Case:
    """A block with both streams."""

    skeleton: Skeleton
    block: nn.Module
    inputs: list[Tensor]
    targets: list[Tensor]
    absmax: dict[str, Tensor]

    def call(self, block: nn.Module, hidden: Tensor) -> Tensor:
        return self.skeleton.call(block, 0, hidden)

    def refine(
        self,
        block: nn.Module,
        spec: ConversionSpec,
        salient: dict[str, Tensor | None] | None = None,
        backend: Backend = "auto",
    ) -> Refined:
        shape = BlockShape(self.skeleton.family, self.skeleton.widths, rotary=True)
        return refine_block(
            block, shape, spec, inputs=self.inputs, targets=self.targets, call=self.call, absmax=self.absmax,
            salient=salient or {}, backend=backend,
        )  # fmt: skip


@pytest.fixture(scope="module")
def case() -> Case:
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**LLAMA)).eval()
    for name, parameter in model.named_parameters():
        if "proj" in name:
            nn.init.normal_(parameter, std=0.1)
        elif "norm" in name:  # a few features larger than the others, as scales are there to level
            parameter.data = torch.exp(torch.randn(24))
    skeleton = Skeleton(LoadedSource(model))
    skeleton.fill_front()
    skeleton.enter(torch.randint(0, 40, (1, 16)))
    hidden = list(torch.randn(4, 16, 24).split(2))
    skeleton.enter(torch.randint(0, 40, (2, 16)))
    block = skeleton.block(0)
    seen = {group[0]: FeatureStatistics(block.get_submodule(group[0]).in_features) for group in skeleton.family.groups}
    with watching({name: block.get_submodule(name) for name in seen}, lambda name, x: seen[name].update(x)):
        targets = skeleton.run(block, 0, hidden)
    inputs = [sequence + 0.05 * torch.randn_like(sequence) for sequence in hidden]
    return Case(skeleton, block, inputs, targets, {name: one.absmax for name, one in seen.items()})


def spec_of(**changes: Any) -> ConversionSpec:
    return ConversionSpec(**{**LET, **changes})


def coded_output(case: Case, block: nn.Module, spec: ConversionSpec, refined: Refined, salient: dict) -> list[Tensor]:
    """The block as it will be stored: plain layers, coded inputs, weights on the learned grids."""
    for name in case.skeleton.family.linears:
        layer = folding.linear_of(block, name)
        grid = refined.grids[name]
        weight, bias = grid.value(grid.codes(layer.weight)), layer.bias
        mask, neuron = salient.get(name), neuron_settings(spec.spike)

        def forward(x: Tensor, weight=weight, bias=bias, mask=mask, neuron=neuron) -> Tensor:
            return linear(gif_quantise(x, salient=mask, **neuron), weight, bias)

        layer.forward = forward
    return case.skeleton.run(block, 0, case.inputs)


SPIKES = {
    "paper codes": SpikeSpec(coding="paper"),
    "exact": SpikeSpec(num_steps=4, salient_fraction=0.05),
}


@pytest.mark.parametrize("spike", SPIKES.values(), ids=SPIKES)
def test_training_lowers_the_error_and_what_is_stored_is_what_was_trained(case: Case, spike: SpikeSpec):
    spec = spec_of(spike=spike, refine_epochs=6, refine_scaling_rate=0.01, refine_clip_rate=0.05)
    salient = {
        name: torch.arange(case.block.get_submodule(name).in_features) % 9 == 0 for name in case.skeleton.family.linears
    }
    salient = salient if spike.num_steps > 1 else {}
    block = copy.deepcopy(case.block)
    refined = case.refine(block, spec, salient)
    assert len(refined.losses) == 6
    assert refined.losses[-1] < refined.losses[0]
    stored = coded_output(case, copy.deepcopy(block), spec, refined, salient)
    error = sum(float((one - other).square().mean()) for one, other in zip(stored, case.targets, strict=True)) / len(
        stored
    )
    assert error < refined.losses[0]
    assert error == pytest.approx(refined.losses[-1], rel=0.2)


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("rotation", ["none", "learned"])
def test_what_is_learned_leaves_the_float_function_as_it_was(case: Case, rotation: str, attention: bool):
    scaling = "none" if rotation == "learned" else "let"
    spec = spec_of(
        rotation=rotation,
        scaling=scaling,
        spike=SpikeSpec(num_steps=1, salient_fraction=0.0, attention=attention),
        refine_scaling_rate=0.05,
    )
    block = copy.deepcopy(case.block)
    case.refine(block, spec)
    changed = [
        name
        for name in case.skeleton.family.linears
        if not torch.equal(folding.linear_of(block, name).weight, case.block.get_submodule(name).weight)
    ]
    wanted = set(case.skeleton.family.linears)
    assert set(changed) == (wanted if rotation == "learned" else wanted - {"mlp.down_proj"})
    clean = [torch.randn(2, 16, 24)]
    torch.testing.assert_close(
        case.skeleton.run(block, 0, clean), case.skeleton.run(case.block, 0, clean), rtol=2e-4, atol=2e-4
    )


def test_the_same_block_learns_the_same(case: Case):
    first, second = copy.deepcopy(case.block), copy.deepcopy(case.block)
    one, other = case.refine(first, spec_of()), case.refine(second, spec_of())
    assert one.losses == other.losses
    for (name, a), (_, b) in zip(first.state_dict().items(), second.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    for name, grid in one.grids.items():
        assert torch.equal(grid.scale, other.grids[name].scale)


@pytest.mark.parametrize("rotation", ["none", "learned"])
@pytest.mark.parametrize("group_size", [None, 8])
def test_the_fast_path_learns_what_the_definition_does(case: Case, rotation: str, group_size: int | None):
    scaling = "none" if rotation == "learned" else "let"
    # Transforms answer to the last bit of a gradient, so they take small steps here.
    rate = 1e-5 if rotation == "learned" else 0.005
    spike = SpikeSpec(num_steps=2, salient_fraction=0.1)
    spec = spec_of(
        rotation=rotation,
        scaling=scaling,
        spike=spike,
        group_size=group_size,
        refine_scaling_rate=rate,
        refine_epochs=2,
    )
    masks = {name: torch.arange(24 if "down" not in name else 36) % 9 == 0 for name in case.skeleton.family.linears}
    blocks = [copy.deepcopy(case.block) for _ in range(2)]
    wanted, found = (
        case.refine(block, spec, dict(masks), backend=backend)
        for block, backend in zip(blocks, ("reference", "auto"), strict=True)
    )
    assert found.losses == pytest.approx(wanted.losses, rel=1e-5)
    for (name, one), (_, other) in zip(blocks[0].state_dict().items(), blocks[1].state_dict().items(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, msg=name)
    for name, grid in wanted.grids.items():
        torch.testing.assert_close(found.grids[name].scale, grid.scale, rtol=1e-4, atol=1e-6, msg=name)


def test_layers_that_share_an_input_code_it_once(case: Case, monkeypatch: pytest.MonkeyPatch):
    calls: list[int] = []

    def counted(x: Tensor, **settings: Any) -> Tensor:
        calls.append(x.shape[-1])
        return coded(x, **settings)

    coded = trainable.gif_quantise
    monkeypatch.setattr(trainable, "gif_quantise", counted)
    case.refine(copy.deepcopy(case.block), spec_of(refine_epochs=1, spike=SpikeSpec(num_steps=1, salient_fraction=0.0)))
    assert sorted(calls) == [24] * 3 * 4 + [36] * 4  # three inputs of width 24 and one of 36, four sequences


def test_what_is_learned_shares_the_memory_of_the_float_block(case: Case):
    block = copy.deepcopy(case.block)
    places = {parameter.data_ptr() for parameter in block.parameters()}
    seen: set[int] = set()

    def call(module: nn.Module, hidden: Tensor) -> Tensor:
        seen.update(part.weight.data_ptr() for part in module.modules() if isinstance(part, trainable.TrainableLinear))
        return case.call(module, hidden)

    shape = BlockShape(case.skeleton.family, case.skeleton.widths, rotary=True)
    streams = {"inputs": case.inputs, "targets": case.targets}
    refine_block(block, shape, spec_of(), **streams, call=call, absmax=case.absmax, salient={})
    assert len(seen) == 7
    assert seen <= places


def test_the_float_block_given_is_read_only_until_the_end(case: Case):
    before = copy.deepcopy(case.block.state_dict())
    block = copy.deepcopy(case.block)
    broken = dataclasses.replace(case, targets=[torch.full_like(t, torch.nan) for t in case.targets])
    with pytest.raises(TrainingError, match="not finite") as caught:
        broken.refine(block, spec_of())
    assert "target" in (caught.value.cause or "")
    assert "epoch 1, sequence 1" in (caught.value.received or "")
    for name, value in block.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_rate_that_is_too_high_is_named(case: Case):
    wild = dataclasses.replace(case, targets=[t * 1e30 for t in case.targets])
    with pytest.raises(TrainingError, match="not finite") as caught:
        wild.refine(copy.deepcopy(case.block), spec_of())
    assert "refine_scaling_rate" in (caught.value.fix or "")


SMALL: dict[str, Any] = {"num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 40, "hidden_size": 24}
OTHERS = {
    "gpt2": GPT2Config(**SMALL, n_positions=32),
    "opt": OPTConfig(**SMALL, ffn_dim=36, max_position_embeddings=32, word_embed_proj_dim=24),
}


@pytest.mark.parametrize("config", OTHERS.values(), ids=OTHERS)
def test_other_families_learn_too(config):
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config).eval()
    for name, parameter in model.named_parameters():
        if "norm" not in name and "ln_" not in name:
            nn.init.normal_(parameter, std=0.1)
    skeleton = Skeleton(LoadedSource(model))
    skeleton.fill_front()
    stream = [torch.cat([skeleton.enter(torch.randint(0, 40, (1, 16)))[0] for _ in range(4)])]
    block = skeleton.block(0)
    targets = [skeleton.call(block, 0, one) for one in stream[0].split(1)]
    absmax = {group[0]: torch.ones(block.get_submodule(group[0]).in_features) for group in skeleton.family.groups}
    learned = copy.deepcopy(block)
    shape = BlockShape(family_of(config), widths_of(config), rotary=False)
    spec = spec_of(
        refine_epochs=6,
        refine_scaling_rate=0.01,
        refine_clip_rate=0.05,
        spike=SpikeSpec(num_steps=1, salient_fraction=0.0, attention=True),
    )
    refined = refine_block(
        learned, shape, spec, inputs=stream, targets=[torch.cat(targets)], absmax=absmax, salient={},
        call=lambda module, hidden: skeleton.call(module, 0, hidden),
    )  # fmt: skip
    assert refined.losses[-1] < refined.losses[0]
    clean = torch.randn(1, 16, 24)
    torch.testing.assert_close(skeleton.call(learned, 0, clean), skeleton.call(block, 0, clean), rtol=1e-4, atol=1e-4)
