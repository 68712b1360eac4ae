"""The fused layer against its definition: values, every gradient, what it saves, odd shapes, autocast."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darkit_nb.errors import ShapeError
from darkit_nb.functional import spike_linear as reference
from darkit_nb.functional.gif import gif_encode
from darkit_nb.ops.gif import decode_centred, encode_centred
from darkit_nb.ops.spike_linear import spike_linear
from darkit_nb.records.spike_spec import SpikeSpec

SPECS = [
    SpikeSpec(),
    SpikeSpec(gradient="range"),
    SpikeSpec(backend="blocked"),
    SpikeSpec(gradient="range", backend="blocked"),
    SpikeSpec(coding="radix", ranges="own"),
    SpikeSpec(coding="paper", num_steps=4),
    SpikeSpec(num_levels=256, num_steps=2, weight_bits=8),
    SpikeSpec(num_levels=2, num_steps=4, salient_fraction=1.0, weight_bits=2),
    SpikeSpec(signed=True, num_levels=2, num_steps=1),
    SpikeSpec(weight_bits=16, ranges="own"),
]


def gradients(function, x, w, b, spec, salient, upstream):
    leaves = [tensor.clone().requires_grad_() for tensor in (x, w) + ((b,) if b is not None else ())]
    y = function(leaves[0], leaves[1], leaves[2] if b is not None else None, spec, salient)
    y.backward(upstream)
    return [y, *(leaf.grad for leaf in leaves)]


@settings(deadline=None, max_examples=40)
@given(
    spec=st.sampled_from(SPECS),
    lead=st.sampled_from([(1,), (3, 5), (2, 3, 7)]),
    features=st.sampled_from([1, 2, 63, 129]),
    outputs=st.sampled_from([1, 5, 40]),
    share=st.sampled_from([None, 0.0, 0.2, 1.0]),
    bias=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_values_and_every_gradient_equal_the_definition(spec, lead, features, outputs, share, bias, seed):
    torch.manual_seed(seed)
    x, w = 3 * torch.randn(*lead, features), torch.randn(outputs, features)
    b = torch.randn(outputs) if bias else None
    salient = None if share is None else torch.rand(features) < share
    upstream = torch.randn(*lead, outputs)
    ours = gradients(spike_linear, x, w, b, spec, salient, upstream)
    want = gradients(reference.spike_linear, x, w, b, spec, salient, upstream)
    for one, other in zip(ours, want, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * max(1.0, other.abs().max().item()))


@settings(deadline=None, max_examples=40)
@given(
    spec=st.sampled_from(SPECS),
    rows=st.integers(1, 20),
    features=st.sampled_from([1, 17, 63, 700]),
    share=st.sampled_from([None, 0.0, 0.3, 1.0]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    seed=st.integers(0, 2**16),
)
def test_what_is_kept_for_the_backward_is_the_spikes_and_nothing_is_lost(spec, rows, features, share, dtype, seed):
    torch.manual_seed(seed)
    x = (2 * torch.randn(rows, features)).to(dtype)
    salient = None if share is None else torch.rand(features) < share
    settings_ = reference.neuron_settings(spec)
    values, centred, scale, clamped = encode_centred(x, salient=salient, **settings_)
    code = gif_encode(x, salient=salient, **settings_)
    assert torch.equal(centred.long(), code.counts.long() - code.per_feature(code.zero_point).long())
    assert torch.equal(scale, code.scale)
    assert torch.equal(values, code.dequantise())
    assert torch.equal(decode_centred(centred, scale, salient=salient, **settings_), values)
    assert clamped is None or clamped.any()


def test_only_small_integers_are_saved():
    saved = []
    x, w = torch.randn(64, 32, requires_grad=True), torch.randn(8, 32, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        spike_linear(x, w, None, SpikeSpec(), torch.rand(32) < 0.2)
    large = [tensor for tensor in saved if tensor.shape[0] == 64 and tensor.shape[-1] == 32]
    assert [tensor.dtype for tensor in large if tensor.dtype != torch.bool] == [torch.int8]


def test_autocast_multiplies_in_its_dtype_and_counts_in_float32():
    torch.manual_seed(0)
    x, w = torch.randn(16, 64, requires_grad=True), torch.randn(8, 64, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = spike_linear(x, w, None, SpikeSpec())
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert x.grad.dtype == w.grad.dtype == torch.float32
    torch.testing.assert_close(y.float(), reference.spike_linear(x, w, None, SpikeSpec()), rtol=0.05, atol=0.3)


def test_a_token_with_a_nan_stays_visible():
    x = torch.randn(4, 16)
    x[2, 3] = float("nan")
    y = spike_linear(x, torch.randn(5, 16), None, SpikeSpec(), torch.arange(16) < 4)
    assert y[2].isnan().all()
    assert y[[0, 1, 3]].isfinite().all()


@pytest.mark.parametrize(
    ("x", "salient"),
    [
        (torch.zeros(3, 8, dtype=torch.long), None),
        (torch.zeros(3, 0), None),
        (torch.zeros(3, 8), torch.zeros(7, dtype=torch.bool)),
        (torch.zeros(3, 8), torch.zeros(8)),
    ],
)
def test_what_cannot_be_encoded_is_refused(x, salient):
    with pytest.raises(ShapeError):
        spike_linear(x, torch.zeros(2, 8), None, SpikeSpec(), salient)
