"""The GIF neuron's definition: codes, errors, ranges, faults in the input, and both gradients."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from darkit_nb.errors import ShapeError
from darkit_nb.functional.gif import SCALE_FLOOR, gif_encode, gif_quantise
from darkit_nb.records.spike_spec import code_cap

NEURONS = st.fixed_dictionaries(
    {
        "num_levels": st.sampled_from([2, 3, 4, 16, 256]),
        "num_steps": st.integers(1, 3),
        "coding": st.sampled_from(["rate", "radix", "paper"]),
        "ranges": st.sampled_from(["shared", "own"]),
        "signed": st.booleans(),
    }
).filter(lambda n: code_cap(n["num_levels"], n["num_steps"], n["coding"]) <= 2**20)
SIZES = {"tokens": st.sampled_from([1, 2, 7]), "features": st.sampled_from([1, 2, 17, 63, 130])}


def tokens_of(kind: str, tokens: int, features: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(tokens, features, generator=generator, dtype=torch.float64)
    x = {"both": x, "positive": x.abs(), "negative": -x.abs(), "zero": x * 0, "wide": x * 10.0 ** (x * 3)}[kind]
    return x.to(dtype)


def mask_of(features: int, share: float | None, seed: int) -> Tensor | None:
    generator = torch.Generator().manual_seed(seed + 1)
    return None if share is None else torch.rand(features, generator=generator) < share


@settings(deadline=None, max_examples=150)
@given(
    neuron=NEURONS,
    kind=st.sampled_from(["both", "positive", "negative", "zero", "wide"]),
    share=st.sampled_from([None, 0.0, 0.3, 1.0]),
    seed=st.integers(0, 2**16),
    **SIZES,
)
def test_codes_stay_within_their_caps_and_values_within_half_a_step(neuron, kind, share, tokens, features, seed):
    x, salient = tokens_of(kind, tokens, features, seed), mask_of(features, share, seed)
    code = gif_encode(x, salient=salient, **neuron)
    counts, caps = code.counts.to(torch.int64), torch.as_tensor(code.cap_per_feature).expand(x.shape)
    assert (counts <= caps).all()
    assert (counts >= (-caps if neuron["signed"] else torch.zeros_like(caps))).all()
    scale = code.per_feature(code.scale).double().expand(x.shape)
    zero = code.per_feature(code.zero_point).double().expand(x.shape)
    error = (code.dequantise().double() - x.double()).abs()
    raw = torch.round(x.double() / scale) + zero
    lowest = -caps if neuron["signed"] else torch.zeros_like(caps)
    open_ = (raw <= caps) & (raw >= lowest)
    slack = 2e-6 * (x.double().abs() + zero.abs() * scale)  # float32 division and product
    assert (error <= scale / 2 + slack)[open_].all()
    # A rounded zero point can push the far end of the range past its last code, by one.
    assert (error <= scale + slack).all()


@given(features=st.integers(1, 40), seed=st.integers(0, 999), levels=st.sampled_from([2, 16]))
@settings(deadline=None, max_examples=50)
def test_a_one_sided_token_uses_every_code_on_its_side(features, seed, levels):
    x = tokens_of("positive", 3, features, seed) + 0.01
    up, down = gif_encode(x, num_levels=levels), gif_encode(-x, num_levels=levels)
    assert (up.zero_point == 0).all()
    assert (down.zero_point == levels - 1).all()
    assert torch.equal(up.counts.amax(-1), torch.full((3,), levels - 1, dtype=torch.uint8))
    assert torch.equal(down.counts.amin(-1), torch.zeros(3, dtype=torch.uint8))


def test_zero_is_exact_in_every_neuron():
    x = torch.tensor([[0.0, -0.37, 1.9, 0.0, 5.0]])
    for signed in (False, True):
        for ranges in ("shared", "own"):
            salient = torch.tensor([True, True, False, False, False])
            code = gif_encode(x, num_levels=16, num_steps=2, salient=salient, ranges=ranges, signed=signed)
            assert (code.dequantise()[x == 0] == 0).all()


def test_an_all_zero_token_has_the_smallest_scale_and_no_spike():
    code = gif_encode(torch.zeros(2, 5), num_levels=16)
    assert (code.scale == SCALE_FLOOR).all()
    assert (code.counts == 0).all()


def test_own_ranges_free_the_others_from_outliers():
    torch.manual_seed(0)
    x = torch.randn(20, 64)
    salient = torch.zeros(64, dtype=torch.bool)
    salient[:4] = True
    x[:, salient] *= 50
    error = {
        ranges: (gif_encode(x, num_levels=16, num_steps=2, salient=salient, ranges=ranges).dequantise() - x)
        for ranges in ("shared", "own")
    }
    normal = {ranges: each[:, ~salient].square().mean() for ranges, each in error.items()}
    assert normal["own"] < 0.01 * normal["shared"]


def test_each_range_group_depends_on_its_own_features_only():
    torch.manual_seed(1)
    x = torch.randn(6, 20)
    salient = torch.rand(20) < 0.4
    louder = torch.where(salient, 7 * x, x)
    a, b = (gif_encode(v, num_levels=4, num_steps=2, salient=salient, ranges="own") for v in (x, louder))
    assert torch.equal(a.scale[..., 0], b.scale[..., 0])
    assert torch.equal(a.counts[:, ~salient], b.counts[:, ~salient])
    assert torch.allclose(7 * a.scale[..., 1], b.scale[..., 1])


def test_salient_steps_are_finer_in_rate_and_finer_still_in_radix():
    torch.manual_seed(2)
    x, salient = torch.randn(30, 40), torch.ones(40, dtype=torch.bool)

    def error(steps: int, coding: str) -> float:
        code = gif_encode(x, num_levels=4, num_steps=steps, salient=salient, coding=coding)
        return float((code.dequantise() - x).abs().mean())

    assert error(1, "rate") > 1.5 * error(2, "rate") > 2 * error(2, "radix")


def test_ternary_spikes_are_minus_one_zero_and_one():
    x = torch.tensor([[-2.0, -0.9, 0.0, 0.9, 1.1, 2.0]])
    code = gif_encode(x, num_levels=2, signed=True)
    assert code.counts.dtype == torch.int8
    assert code.counts.tolist() == [[-1, 0, 0, 0, 1, 1]]
    assert (code.zero_point == 0).all()
    assert torch.equal(gif_encode(-x, num_levels=2, signed=True).counts, -code.counts)


@pytest.mark.parametrize("fault", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("ranges", ["shared", "own"])
def test_a_faulty_token_stays_silent_and_visible_and_harms_no_other(fault, signed, ranges):
    torch.manual_seed(3)
    x, salient = torch.randn(4, 10), torch.arange(10) < 3
    neuron = {"num_levels": 16, "num_steps": 2, "salient": salient, "ranges": ranges, "signed": signed}
    clean = gif_encode(x, **neuron)
    sick = x.clone()
    sick[1, 0] = fault
    code = gif_encode(sick, **neuron)
    group = salient if ranges == "own" else torch.ones_like(salient)
    assert (code.counts[1, group] == 0).all()
    assert code.dequantise()[1, group].isnan().all()
    others = torch.tensor([0, 2, 3])
    assert torch.equal(code.counts[others], clean.counts[others])
    assert gif_quantise(sick, **neuron)[1, group].isnan().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_float_dtype_is_encoded_and_given_back(dtype):
    x = tokens_of("both", 5, 33, 4, dtype)
    code, value = gif_encode(x, num_levels=16), gif_quantise(x, num_levels=16)
    assert value.dtype == dtype
    assert code.scale.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.equal(code.dequantise().to(dtype), value)
    if dtype != torch.float64:
        assert torch.equal(code.counts, gif_encode(x.float(), num_levels=16).counts)


def test_strided_and_batched_tokens_have_the_same_codes_as_plain_ones():
    x = tokens_of("both", 12, 18, 5)
    plain = gif_encode(x, num_levels=16).counts
    assert torch.equal(gif_encode(x.t().contiguous().t(), num_levels=16).counts, plain)
    assert torch.equal(gif_encode(x.view(3, 4, 18), num_levels=16).counts.view(12, 18), plain)


@pytest.mark.parametrize(
    ("x", "salient", "said"),
    [
        (torch.zeros(3, 4, dtype=torch.int64), None, "floating-point"),
        (torch.tensor(1.0), None, "floating-point"),
        (torch.zeros(3, 0), None, "floating-point"),
        (torch.zeros(3, 4), torch.zeros(5, dtype=torch.bool), "does not belong"),
        (torch.zeros(3, 4), torch.zeros(4), "does not belong"),
        (torch.zeros(4), torch.zeros(3, 4, dtype=torch.bool), "does not belong"),
    ],
)
def test_what_cannot_be_encoded_is_refused(x, salient, said):
    for refuse in (gif_encode, gif_quantise):
        with pytest.raises(ShapeError, match=said) as caught:
            refuse(x, num_levels=16, num_steps=2, salient=salient)
        assert caught.value.fix


@pytest.mark.parametrize("name", ["linear_w4a4_add1_p0.9", "linear_w4a4_add2_p0.95_lwc", "linear_w2a8_add1_p0.9_lwc"])
def test_features_without_extra_steps_reproduce_the_published_low_bit_codes(test_data: Path, name: str):
    gold = load_file(test_data / "golden" / f"{name}.safetensors")
    levels = 2 ** int(name.split("_")[1].partition("a")[2])
    code = gif_encode(gold["x"], num_levels=levels, coding="paper")
    assert torch.equal(code.dequantise(), gold["x_low"])
    assert torch.equal(gif_quantise(gold["x"], num_levels=levels, coding="paper"), gold["x_low"])


# -- gradients -----------------------------------------------------------------------------------------------------


def open_codes(x: Tensor, code) -> Tensor:
    raw = torch.round(x / code.per_feature(code.scale)) + code.per_feature(code.zero_point)
    caps = torch.as_tensor(code.cap_per_feature).expand(x.shape)
    return (raw <= caps) & (raw >= (-caps if code.signed else 0))


@settings(deadline=None, max_examples=60)
@given(
    neuron=NEURONS,
    kind=st.sampled_from(["both", "positive", "negative"]),
    share=st.sampled_from([None, 0.4]),
    seed=st.integers(0, 2**16),
    **SIZES,
)
def test_the_clipped_gradient_is_the_upstream_where_no_code_was_clamped(neuron, kind, share, tokens, features, seed):
    x = tokens_of(kind, tokens, features, seed, torch.float64).requires_grad_()
    salient, upstream = mask_of(features, share, seed), tokens_of("both", tokens, features, seed + 7, torch.float64)
    value = gif_quantise(x, salient=salient, gradient="clipped", **neuron)
    value.backward(upstream)
    code = gif_encode(x.detach(), salient=salient, **neuron)
    assert torch.equal(value.detach(), code.dequantise())
    # g·s/s is g up to its last bits
    torch.testing.assert_close(x.grad, upstream * open_codes(x.detach(), code), rtol=1e-14, atol=0)


@settings(deadline=None, max_examples=60)
@given(
    neuron=NEURONS,
    kind=st.sampled_from(["both", "positive", "negative"]),
    share=st.sampled_from([None, 0.4]),
    seed=st.integers(0, 2**16),
    **SIZES,
)
def test_the_range_gradient_is_the_closed_form(neuron, kind, share, tokens, features, seed):
    """gs of every range group, spread to the ends of the range; written out here with loops, token by token."""
    x = tokens_of(kind, tokens, features, seed, torch.float64).requires_grad_()
    salient, upstream = mask_of(features, share, seed), tokens_of("both", tokens, features, seed + 7, torch.float64)
    gif_quantise(x, salient=salient, gradient="range", **neuron).backward(upstream)

    values = x.detach()
    code = gif_encode(values, salient=salient, **neuron)
    scale = code.per_feature(code.scale).expand(values.shape)
    zero = code.per_feature(code.zero_point).expand(values.shape)
    caps = torch.as_tensor(code.cap_per_feature).expand(values.shape)
    m = open_codes(values, code).double()
    spread = upstream * ((code.counts.double() - zero) - m * values / scale) / caps
    want = upstream * m
    everything = torch.ones(features, dtype=torch.bool)
    groups = [salient, ~salient] if salient is not None and neuron["ranges"] == "own" else [everything]
    for token in range(tokens):
        for group in groups:
            members = group.nonzero().flatten()
            gs = float(spread[token, members].sum())
            inside = values[token, members]
            if neuron["signed"]:
                if len(members) and inside.abs().max() > 0:
                    peak = members[inside.abs().argmax()]
                    want[token, peak] += gs * values[token, peak].sign()
                continue
            if len(members) and inside.max() > 0:
                want[token, members[inside.argmax()]] += gs
            if len(members) and inside.min() < 0:
                want[token, members[inside.argmin()]] -= gs
    torch.testing.assert_close(x.grad, want, rtol=1e-9, atol=1e-9)
