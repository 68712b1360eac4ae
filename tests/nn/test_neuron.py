"""Temporal neurons as modules, and their entries in the registry."""

from __future__ import annotations

import pytest
import torch

from darkit_nb.errors import ConfigError
from darkit_nb.functional.neuron import neuron_scan
from darkit_nb.nn.builtin import register_neurons
from darkit_nb.nn.neuron import IF, LIF, PLIF, IntegerLIF
from darkit_nb.plugins import Registry

NEURONS = [IF(0.8), LIF(0.6, reset="hard"), LIF(0.5, decay_input=True), PLIF((7,)), IntegerLIF(3)]


@pytest.mark.parametrize("neuron", NEURONS, ids=repr)
def test_state_is_a_value(neuron: LIF) -> None:
    x = torch.randn(6, 4, 7) * 2
    whole, end = neuron(x)
    first, state = neuron(x[:2], neuron.init_state(x.shape[1:], x))
    second, last = neuron(x[2:], state)
    again, _ = neuron(x)
    assert torch.equal(torch.cat([first, second]), whole)
    assert torch.equal(last, end)
    assert torch.equal(again, whole)


def test_modules_are_the_law() -> None:
    x = torch.randn(5, 7)
    assert torch.equal(IF(0.8)(x)[0], neuron_scan(x, threshold=0.8)[0])
    assert torch.equal(IntegerLIF(3)(x * 3)[0], neuron_scan(x * 3, decay=0.25, max_count=3)[0])
    halved = LIF(0.5, reset="hard", decay_input=True)(x)[0]
    assert torch.equal(halved, neuron_scan(x * 0.5, decay=0.5, reset="hard")[0])


def test_plif_learns_decay_and_threshold() -> None:
    neuron = PLIF((7,), decay=0.3, threshold=0.9)
    decay, threshold = neuron.constants()
    torch.testing.assert_close(decay, torch.full((7,), 0.3))
    torch.testing.assert_close(threshold, torch.full((7,), 0.9))
    spikes, state = neuron(torch.randn(4, 5, 7))
    (spikes.sum() + state.sum()).backward()
    for parameter in neuron.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().min() > 0
    assert set(neuron.state_dict()) == {"decay_logit", "log_threshold"}


def test_a_start_the_parametrisation_cannot_reach_is_refused() -> None:
    for wrong in ({"decay": 1.0}, {"decay": 0.0}, {"threshold": 0.0}):
        with pytest.raises(ConfigError, match="strictly inside"):
            PLIF(**wrong)


def test_half_precision_spikes_follow_the_input() -> None:
    spikes, state = LIF()(torch.randn(3, 5).bfloat16())
    assert spikes.dtype == torch.bfloat16
    assert state.dtype == torch.float32


def test_every_neuron_is_registered_and_loads() -> None:
    registry = Registry("neuron")
    register_neurons(registry)
    assert [entry.name for entry in registry] == ["gif", "if", "integer-lif", "lif", "plif"]
    assert all(callable(entry.load()) for entry in registry)
