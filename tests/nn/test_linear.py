"""`SpikeLinear` in evaluation: integers instead of floats, and never those of weights that have changed."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from darkit_nb.functional import spike_linear as reference
from darkit_nb.functional.gif import gif_encode
from darkit_nb.functional.weight import weight_encode
from darkit_nb.nn.linear import SpikeLinear
from darkit_nb.records.spike_spec import SpikeSpec
from darkit_nb.trace.flops import counting_flops

SPECS = [
    SpikeSpec(),
    SpikeSpec(ranges="own"),
    SpikeSpec(coding="radix", backend="blocked"),
    SpikeSpec(coding="paper"),
    SpikeSpec(num_levels=256, num_steps=4, weight_bits=8),
]


def layer_of(spec: SpikeSpec, original: nn.Module | None = None) -> SpikeLinear:
    torch.manual_seed(0)
    layer = SpikeLinear(original or nn.Linear(63, 12), spec).eval()
    layer.salient.copy_(torch.arange(63) % 9 == 0)
    return layer


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("original", [nn.Linear(63, 12), nn.Linear(63, 12, bias=False), Conv1D(12, 63)])
def test_evaluation_is_the_integer_product_and_agrees_with_the_floats(spec, original) -> None:
    layer = layer_of(spec, copy.deepcopy(original))
    x = torch.randn(2, 5, 63)
    with torch.no_grad():
        found = layer(x)
        code = gif_encode(x, salient=layer.mask, **reference.neuron_settings(spec))
        exact = reference.spike_product(code, weight_encode(layer.matrix, spec.weight_bits), layer.bias)
    torch.testing.assert_close(found, exact, rtol=0, atol=0)
    assert not found.requires_grad
    with_gradient = layer(x)
    assert with_gradient.requires_grad
    torch.testing.assert_close(with_gradient, found, rtol=1e-5, atol=1e-5 * float(found.abs().max()))


def test_weights_that_change_by_any_means_are_coded_again() -> None:
    layer, x = layer_of(SpikeSpec()), torch.randn(4, 63)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)

    def step() -> None:
        with torch.enable_grad():
            layer(x).square().sum().backward()
        optimizer.step()

    changes = (
        step,
        lambda: layer.load_state_dict(layer_of(SpikeSpec(), nn.Linear(63, 12)).state_dict()),
        lambda: layer.weight.mul_(torch.randn(63)),
        lambda: layer.bias.add_(1),
        lambda: layer.salient.logical_not_(),
        lambda: setattr(layer, "spec", dataclasses.replace(layer.spec, weight_bits=3)),
        lambda: setattr(layer, "weight", nn.Parameter(torch.randn(12, 63))),
        lambda: setattr(layer.weight, "data", torch.randn(12, 63)),
    )
    with torch.no_grad():
        before = layer(x)
        for change in changes:
            change()
            now = layer(x)
            assert not torch.equal(now, before)
            assert torch.equal(now, copy.deepcopy(layer)(x))
            before = now


def test_a_weight_written_behind_the_counter_is_seen_after_training() -> None:
    layer, x = layer_of(SpikeSpec()), torch.randn(4, 63)
    with torch.no_grad():
        layer(x)
        layer.train()
        layer.weight.data.mul_(-1)
        layer.eval()
        assert torch.equal(layer(x), copy.deepcopy(layer)(x))


def test_training_keeps_no_codes() -> None:
    layer = layer_of(SpikeSpec())
    with torch.no_grad():
        layer(torch.randn(4, 63))
    assert layer._ready is not None
    layer.train()
    assert layer._ready is None


def test_half_precision_and_autocast_keep_their_dtype() -> None:
    layer, x = layer_of(SpikeSpec()), torch.randn(4, 63)
    with torch.no_grad():
        whole = layer(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = layer(x)
        layer.to(torch.bfloat16)
        half = layer(x.to(torch.bfloat16))
    for found in (mixed, half):
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found.float(), whole, rtol=0.05, atol=0.05 * float(whole.abs().max()))


def test_operations_are_pytorchs_own_under_somebodys_eyes_and_in_double() -> None:
    layer, x = layer_of(SpikeSpec()), torch.randn(4, 63)
    with torch.no_grad():
        with counting_flops() as meter:
            seen = layer(x)
        assert meter.total == 2 * 4 * 63 * 12
        torch.testing.assert_close(seen, layer(x), rtol=1e-5, atol=1e-5 * float(seen.abs().max()))
        assert layer.double()(x.double()).dtype == torch.float64


def test_an_inference_weight_is_never_taken_for_the_one_it_was() -> None:
    with torch.inference_mode():
        layer, x = layer_of(SpikeSpec()), torch.randn(4, 63)
        before = layer(x)
        layer.weight.mul_(-1)
        torch.testing.assert_close(layer(x) - layer.bias, layer.bias - before, rtol=0.3, atol=1.0)
        assert not torch.equal(layer(x), before)
