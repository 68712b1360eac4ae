"""Figures of parameters against plain torch, for every kind of tensor a module may hold."""

from __future__ import annotations

import json
import time

import pytest
import torch
from torch import nn

from darkit_nb.nn.packed_linear import PackedSpikeLinear
from darkit_nb.records.parameter_statistics import ParameterStatistics
from darkit_nb.records.spike_spec import SpikeSpec
from darkit_nb.trace.statistics import BINS, MOST_VALUES, parameter_statistics
from tests.nn.test_packed_linear import quantised


def of(tensor: torch.Tensor) -> ParameterStatistics:
    module = nn.Module()
    module.register_buffer("x", tensor)
    (found,) = parameter_statistics(module)
    assert ParameterStatistics.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found
    return found


def test_a_layer_and_its_gradient():
    torch.manual_seed(0)
    layer = nn.Linear(33, 7)
    layer(torch.randn(5, 33)).square().sum().backward()
    state = torch.random.get_rng_state()
    weight, bias = parameter_statistics(layer)
    assert torch.equal(torch.random.get_rng_state(), state)
    value = layer.weight.detach().double()
    assert (weight.name, weight.role, weight.shape, weight.trainable) == ("weight", "parameter", (7, 33), True)
    assert weight.mean == pytest.approx(value.mean().item(), rel=1e-12)
    assert weight.std == pytest.approx(value.std(correction=0).item(), rel=1e-12)
    assert (weight.minimum, weight.maximum) == (value.min().item(), value.max().item())
    assert (weight.counted, sum(weight.histogram), len(weight.histogram)) == (231, 231, BINS)
    assert layer.weight.grad is not None
    assert weight.gradient_norm == pytest.approx(layer.weight.grad.norm().item(), rel=1e-5)
    assert (bias.size, bias.sampled, weight.zero_share) == (7, False, 0.0)


def test_only_what_the_module_holds_itself():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    assert parameter_statistics(model) == ()
    found = parameter_statistics(model[1])
    assert [(each.name, each.role) for each in found] == [
        ("weight", "parameter"),
        ("bias", "parameter"),
        ("running_mean", "buffer"),
        ("running_var", "buffer"),
        ("num_batches_tracked", "buffer"),
    ]


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.zeros(3, device="meta"), "meta device"),
        (torch.zeros(0, 3), "empty"),
        (torch.zeros(2, dtype=torch.complex64), "complex"),
        (torch.full((3,), torch.nan), "finite"),
    ],
)
def test_what_has_no_values_says_so(tensor: torch.Tensor, words: str):
    found = of(tensor)
    assert words in found.reason
    assert (found.mean, found.histogram, found.sampled) == (None, (), False)


def test_a_parameter_whose_shape_is_not_decided():
    assert {each.reason for each in parameter_statistics(nn.LazyLinear(3))} == {
        "its shape is decided by the first forward"
    }


INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.uint16, torch.int32, torch.uint32, torch.uint64, torch.int64)


@pytest.mark.parametrize("dtype", [*INTEGERS, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float64])
def test_every_kind_of_number(dtype: torch.dtype):
    found = of(torch.tensor([1, 0, 1, 1]).to(dtype))
    assert (found.mean, found.minimum, found.maximum, found.zero_share) == (0.75, 0.0, 1.0, 0.25)
    assert found.histogram[0] == 1
    assert sum(found.histogram) == 4
    assert len(found.histogram) == (BINS if dtype.is_floating_point else 2)


@pytest.mark.filterwarnings("ignore:.*quantize")
def test_quantised_and_sparse_tensors_stand_for_their_values():
    quantised = of(torch.quantize_per_tensor(torch.tensor([-1.0, 0.0, 0.5]), 0.5, 0, torch.qint8))
    assert (quantised.minimum, quantised.maximum, quantised.dtype) == (-1.0, 0.5, "qint8")
    assert of(torch.eye(4).to_sparse()).zero_share == 0.75


def test_what_is_not_finite_is_counted_and_left_out():
    found = of(torch.tensor([torch.nan, 1.0, torch.inf, -torch.inf, 3.0]))
    assert (found.not_finite, found.mean, found.minimum, found.maximum) == (3, 2.0, 1.0, 3.0)
    layer = nn.Linear(2, 1)
    layer.weight.grad = torch.tensor([[3.0, torch.nan]])
    weight = parameter_statistics(layer)[0]
    assert (weight.gradient_norm, weight.gradient_not_finite) == (3.0, 1)


def test_a_single_value_and_one_that_no_float_holds():
    assert of(torch.tensor(3.0)).histogram == (1,)
    assert of(torch.tensor([1e308, -1e308], dtype=torch.float64)).std is None


@pytest.mark.parametrize("transposed", [False, True])
def test_a_large_one_is_sampled_and_its_extremes_are_exact(transposed: bool):
    torch.manual_seed(0)
    value = torch.randn(4096, 2048, dtype=torch.bfloat16)
    value[:, ::2] += 1  # a pattern that equal steps would miss
    value[17, 5], value[3, 3] = 1000, torch.nan
    value = value.T if transposed else value
    started = time.process_time()
    found = of(value)
    assert time.process_time() - started < 5
    assert found.sampled
    assert found.counted in (MOST_VALUES, MOST_VALUES - 1)
    assert (found.maximum, found.not_finite) == (1000, 1)
    assert found.mean == pytest.approx(0.5, abs=0.01)


def test_of_a_packed_weight_the_values_it_stands_for_come_first():
    layer = PackedSpikeLinear.from_weight(quantised(), torch.randn(12), SpikeSpec())
    first, *rest = parameter_statistics(layer)
    assert (first.name, first.role, first.shape) == ("weight", "decoded", (12, 63))
    assert first.mean == pytest.approx(float(layer.weight.double().mean()))
    assert first.maximum == pytest.approx(float(layer.weight.max()))
    assert {each.role for each in rest} == {"buffer"}
