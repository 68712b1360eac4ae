"""The tree of a model that was never run: right in shapes and sizes, quick, and the model not even touched."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch import nn

from darkit_nb.models.build import build_model
from darkit_nb.records.trace import ModelTrace
from darkit_nb.spikify import spikify, spiking_modules
from darkit_nb.trace import trace_model
from darkit_nb.trace.outline import outline_model, without_weights
from darkit_nb.views.tree import tree
from tests.evaluate.models import decoder


def sizes(trace: ModelTrace) -> list[tuple[Any, ...]]:
    return [
        (node.path, node.class_name, node.calls, node.outputs, node.parameters, node.trainable, node.tied, node.flops)
        for node in trace.nodes
    ]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_shapes_and_operations_are_those_of_a_run(family: str):
    model = spikify(decoder(family), attention=family == "llama")
    outlined = outline_model(model)
    assert sizes(outlined) == sizes(trace_model(model, torch.zeros(1, 8, dtype=torch.long)))
    assert (outlined.device, outlined.ran, outlined.firing_rate(0)) == ("cpu", True, None)
    assert "without running the model" in outlined.notes[0]


def test_the_model_is_not_touched():
    model = spikify(decoder("llama")).train()
    heard: list[Any] = []
    model.register_forward_hook(lambda *seen: heard.append(seen))
    layer = next(iter(spiking_modules(model).values()))
    layer.spike_listener = lambda *seen: heard.append(seen)
    model.scratch = torch.ones(2, requires_grad=True) * 2  # a tensor that torch refuses to copy
    before = {name: (value, value._version) for name, value in model.state_dict(keep_vars=True).items()}
    random = torch.random.get_rng_state()
    assert outline_model(model).ran
    after = model.state_dict(keep_vars=True)
    assert all(after[name] is value and value._version == version for name, (value, version) in before.items())
    assert heard == []
    assert model.training
    assert torch.equal(torch.random.get_rng_state(), random)


def test_the_copy_holds_no_weights_and_ties_what_is_tied():
    model = decoder("gpt2")
    empty: Any = without_weights(model)
    assert all(tensor.is_meta for tensor in (*empty.parameters(), *empty.buffers()))
    assert empty.lm_head.weight is empty.transformer.wte.weight
    assert model.lm_head.weight is not empty.lm_head.weight


def test_a_model_that_reads_no_tokens_is_listed():
    model = spikify(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), attention=False)
    outlined = outline_model(model)
    assert [node.path for node in outlined.nodes] == [name for name, _ in model.named_modules()]
    assert (outlined.ran, outlined.root.parameters, outlined.root.energy_pj) == (False, 212, None)
    assert outlined.node("0").spikes is not None
    text = tree(outlined).to_text()
    assert "never ran" not in text
    assert "MACs" not in text.splitlines()[0]
    assert "so there are no shapes" in text


class Uncopied(nn.Linear):
    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        raise TypeError("no copy of me")


class Raising(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        raise ValueError("not on this device")


@pytest.mark.parametrize("kind", [Uncopied, Raising])
def test_what_cannot_be_copied_or_run_without_values_is_listed(kind: type[nn.Linear]):
    model = decoder("llama")
    model.lm_head = kind(8, 8)
    outlined = outline_model(model)
    assert (outlined.ran, outlined.problem) == (False, None)
    assert outlined.node("lm_head").class_name == kind.__name__


def test_quick_enough_to_be_shown_at_once():
    small = spikify(build_model("spike-llama-nano"))
    outline_model(small)
    started = time.process_time()
    outline_model(small)
    assert time.process_time() - started < 1
    with torch.device("meta"):
        large = spikify(build_model("spike-llama-7b"))
    started = time.process_time()
    assert outline_model(large).root.flops > 1e11
    assert time.process_time() - started < 5
