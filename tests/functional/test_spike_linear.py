"""The definition of the spiking linear layer agrees with itself: values, integers, spike by spike, golden files."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch.nn.functional import linear

from darkit_nb.functional.gif import gif_encode, gif_quantise
from darkit_nb.functional.saliency import choose_salient, saliency_energy
from darkit_nb.functional.spike_linear import neuron_settings, spike_linear, spike_product, spike_product_by_steps
from darkit_nb.functional.weight import weight_encode, weight_quantise
from darkit_nb.records.spike_spec import SpikeSpec

SPECS = [
    SpikeSpec(coding=coding, ranges=ranges, num_levels=levels, num_steps=steps, weight_bits=bits)
    for coding in ("rate", "radix", "paper")
    for ranges in ("shared", "own")
    for levels, steps, bits in ((16, 2, 4), (2, 4, 2), (4, 1, 8))
] + [SpikeSpec(signed=True, num_levels=2, num_steps=3), SpikeSpec(signed=True, coding="radix", num_levels=3)]


@settings(deadline=None, max_examples=40)
@given(
    spec=st.sampled_from(SPECS),
    tokens=st.integers(1, 9),
    features=st.sampled_from([1, 2, 17, 63]),
    outputs=st.sampled_from([1, 5, 40]),
    share=st.sampled_from([None, 0.0, 0.3, 1.0]),
    bias=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_integer_and_stepwise_products_equal_the_definition(spec, tokens, features, outputs, share, bias, seed):
    torch.manual_seed(seed)
    x, w = torch.randn(2, tokens, features), torch.randn(outputs, features)
    b = torch.randn(outputs) if bias else None
    salient = None if share is None else torch.rand(features) < share
    code = gif_encode(x, salient=salient, **neuron_settings(spec))
    want = spike_linear(x, w, b, spec, salient)
    integer = spike_product(code, weight_encode(w, spec.weight_bits), b)
    tolerance = {"rtol": 1e-5, "atol": 1e-5 * max(1.0, want.abs().max().item())}
    torch.testing.assert_close(integer, want, **tolerance)
    if code.lost_counts == 0:
        torch.testing.assert_close(
            spike_product_by_steps(code, weight_encode(w, spec.weight_bits), b), want, **tolerance
        )


def test_paper_codes_lose_their_top_code_when_really_fired():
    torch.manual_seed(0)
    x, w = torch.randn(1, 64, 32), torch.randn(8, 32)
    spec = SpikeSpec(coding="paper")
    code = gif_encode(x, salient=torch.ones(32, dtype=torch.bool), **neuron_settings(spec))
    assert code.lost_counts > 0
    fired = spike_product_by_steps(code, weight_encode(w, 4))
    assert not torch.allclose(fired, spike_product(code, weight_encode(w, 4)), atol=1e-3)


@pytest.mark.parametrize("name", ["linear_w4a4_add1_p0.9", "linear_w4a4_add2_p0.95_lwc", "linear_w2a8_add1_p0.9_lwc"])
def test_paper_mode_reproduces_the_published_layer(test_data: Path, name: str):
    with safe_open(test_data / "golden" / f"{name}.safetensors", framework="pt") as file:
        gold, meta = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
    bits, steps = int(meta["ab"]), 2 ** int(meta["addbit"])
    clip = 1 / (1 + math.exp(-4)) if meta["lwc"] == "True" else 1.0
    settings_ = {"num_levels": 2**bits, "num_steps": steps, "coding": "paper"}

    energy = saliency_energy(gold["calibration"], gold["weight"])
    torch.testing.assert_close(energy, gold["saliency"], rtol=1e-5, atol=1e-4)
    salient = ~gold["low_mask"]
    assert torch.equal(choose_salient(energy, int(salient.sum()) / 64), salient)

    everything = gif_encode(gold["x"], salient=torch.ones(64, dtype=torch.bool), **settings_)
    assert torch.equal(everything.counts.float(), gold["x_int_high"])
    mixed = gif_encode(gold["x"], salient=salient, **settings_)
    assert torch.equal(mixed.dequantise(), torch.where(salient, gold["x_high"], gold["x_low"]))
    assert torch.equal(mixed.scale, torch.cat([gold["scale_low"], gold["scale_high"]], -1))
    assert torch.equal(mixed.zero_point.float(), torch.cat([gold["zero_low"], gold["zero_high"]], -1))

    weight = weight_encode(gold["weight"], int(meta["wb"]), clip=clip)
    assert torch.equal(weight.dequantise(), gold["weight_dequant"])
    torch.testing.assert_close(spike_product(mixed, weight, gold["bias"]), gold["y"], rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("product", ["qk", "pv"])
def test_paper_mode_reproduces_the_published_attention_products(test_data: Path, product: str):
    with safe_open(test_data / "golden" / f"{product}_matmul_a4_add1_p0.9.safetensors", framework="pt") as file:
        gold = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    paper = {"num_levels": 16, "num_steps": 2, "coding": "paper"}
    # The published code takes the range of K over its last axis, the tokens; so K goes in as it lies.
    second = gif_quantise(gold["x2"], salient=~gold["low_mask"].expand_as(gold["x2"]), **paper)
    first = gif_quantise(gold["x1"], num_levels=16) if product == "qk" else gold["x1"]
    torch.testing.assert_close(first @ second, gold["y"], rtol=1e-5, atol=1e-5)


def test_gradients_pass_straight_through_spikes_and_weights():
    torch.manual_seed(1)
    x = torch.randn(3, 7, 19, dtype=torch.double, requires_grad=True)
    w = torch.randn(5, 19, dtype=torch.double, requires_grad=True)
    b = torch.randn(5, dtype=torch.double, requires_grad=True)
    upstream = torch.randn(3, 7, 5, dtype=torch.double)
    spec, salient = SpikeSpec(), torch.rand(19) < 0.3
    spike_linear(x, w, b, spec, salient).backward(upstream)
    spikes = gif_quantise(x.detach(), salient=salient, **neuron_settings(spec))
    matrix = weight_quantise(w.detach(), 4)
    # Where neither code was clamped, the gradient is that of a plain product of the quantised values.
    plain_x, plain_w = spikes.clone().requires_grad_(), matrix.clone().requires_grad_()
    linear(plain_x, plain_w, b.detach()).backward(upstream)
    open_x, open_w = x.grad != 0, w.grad != 0
    assert open_x.double().mean() > 0.9
    assert open_w.double().mean() > 0.9
    torch.testing.assert_close(x.grad[open_x], plain_x.grad[open_x])
    torch.testing.assert_close(w.grad[open_w], plain_w.grad[open_w])
    torch.testing.assert_close(b.grad, upstream.sum((0, 1)))


def test_float_weights_at_16_bits_are_the_weights():
    w = torch.randn(4, 8)
    assert weight_quantise(w, 16) is w


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_weight_codes_stay_in_range_and_within_half_a_step(bits: int):
    torch.manual_seed(bits)
    w = torch.randn(33, 65)
    w[0] = 0.0
    w[1] = w[1].abs()
    code = weight_encode(w, bits)
    assert code.codes.abs().max() <= 2**bits - 1
    # Rounding the zero point may clamp the code at one end by at most one more step.
    assert ((code.dequantise() - w).abs() <= 1.0001 * code.scale).all()
    assert ((code.dequantise() - w).abs() <= 0.5001 * code.scale).double().mean() > 0.95
    assert torch.equal(code.dequantise()[0], torch.zeros(65))
