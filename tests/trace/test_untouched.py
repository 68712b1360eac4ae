"""A model that was traced is bit for bit what it was, and so is everything around it, whatever happened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from darkit_nb.records.trace import ModelTrace
from darkit_nb.spikify import spikify
from darkit_nb.trace import trace_flow, trace_model
from tests.evaluate.models import decoder
from tests.trace.kept import Restless, content_of, same, state_around, state_of
from tests.trace.models import StepMode

X = torch.randn(3, 4)
Look = Callable[[nn.Module, Any], Any]
LOOKS: dict[str, Look] = {
    "trace": trace_model,
    "seconds and memory": lambda model, x: trace_model(model, x, timing=True, memory=True),
    "export": trace_flow,
    "hooks": lambda model, x: trace_flow(model, x, origin="hooks"),
    "export of a part": lambda model, x: trace_flow(model, x, next(name for name, _ in model.named_children())),
}


class Failing(Restless):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        super().forward(x)
        raise OSError("no more")


class Interrupted(Restless):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        super().forward(x)
        raise KeyboardInterrupt


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("kind", [Restless, Failing, Interrupted])
def test_everything_is_put_back(kind: type[Restless], look: str):
    model, x = kind().train(), X.clone()
    model.drop.eval()
    model.fc(x).sum().backward()
    before, around = state_of(model), state_around()
    try:
        LOOKS[look](model, x)
    except KeyboardInterrupt:
        assert kind is Interrupted
    assert same(before, state_of(model))
    assert same(around, state_around())
    assert torch.equal(x, X)


def test_the_check_can_fail():
    model, x = Restless().train(), X.clone()
    before, around = state_of(model)[0][2], state_around()
    model(x)
    after = state_of(model)[0][2]
    changed = {name for name in after if not same(before.get(name), after[name])}
    assert changed == {"memory", "history", "last", "record", "pair", "steps", "late", "_buffers"}
    assert not same(around, state_around())
    assert not torch.equal(x, X)


def test_what_keeps_a_tensor_is_said_to():
    trace = trace_model(Restless(), X)
    assert trace.root.stateful
    assert not trace.node("fc").stateful


@pytest.mark.parametrize("look", LOOKS)
def test_membranes_stay(look: str):
    model = StepMode(2)
    model(torch.rand(2, 6))
    membrane, content = model.lif1.v, content_of(model.lif1.v)
    found = LOOKS[look](model, torch.rand(2, 6))
    assert model.lif1.v is membrane
    assert torch.equal(content_of(membrane), content)
    assert not isinstance(found, ModelTrace) or found.node("lif1").stateful


@pytest.mark.parametrize("look", LOOKS)
def test_a_spiking_model_in_training_stays(look: str):
    model = spikify(decoder(num_hidden_layers=1), num_steps=2, attention=True).train()
    model(torch.zeros(1, 8, dtype=torch.long)).logits.sum().backward()
    before, around = state_of(model), state_around()
    LOOKS[look](model, torch.arange(8)[None])
    assert same(before, state_of(model))
    assert same(around, state_around())


@pytest.mark.parametrize("look", LOOKS)
def test_a_cache_that_is_given_stays(look: str):
    model = decoder("llama")
    past = model(torch.arange(8)[None], use_cache=True).past_key_values
    before = content_of([layer.keys for layer in past.layers])
    given = {"input_ids": torch.tensor([[3]]), "past_key_values": past, "use_cache": True}
    found = LOOKS[look](model, given)
    assert past.get_seq_length() == 8
    assert same(before, [layer.keys for layer in past.layers])
    if isinstance(found, ModelTrace):
        assert found.problem is None
        projections, attention = 24 * 24 * 2 + 24 * 12 * 2, 2 * 9 * 24
        assert found.node("model.layers.0.self_attn").macs == projections + attention


def test_one_tensor_given_twice_stays_one():
    class Same(nn.Module):
        def forward(self, a: torch.Tensor, b: list[torch.Tensor]) -> torch.Tensor:
            assert a is b[0]
            return a * 2

    assert trace_model(Same(), (X, [X])).problem is None


def test_what_cannot_be_copied_is_handed_over():
    class Odd:
        def __init__(self) -> None:
            self.bias = torch.ones(4)

        def __deepcopy__(self, memo: Any) -> Odd:
            raise TypeError("one of a kind")

    class Takes(nn.Module):
        def forward(self, x: torch.Tensor, odd: Odd) -> torch.Tensor:
            return x + odd.bias

    assert trace_model(Takes(), (X, Odd())).problem is None
