"""Layers of packed codes: what they hold, what they give, how they are saved, copied, moved and watched."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from darkit_nb.errors import ShapeError
from darkit_nb.functional.gif import gif_encode
from darkit_nb.functional.spike_linear import neuron_settings, spike_product
from darkit_nb.functional.weight import QuantisedWeight, WeightCode, weight_encode
from darkit_nb.nn.gif import GIF
from darkit_nb.nn.packed_linear import PackedLinear, PackedSpikeLinear
from darkit_nb.nn.rotation import OnlineRotation
from darkit_nb.records.spike_spec import SpikeSpec
from darkit_nb.trace.flops import counting_flops
from darkit_nb.trace.kinds import kind_of
from darkit_nb.trace.spikes import SpikeRecorder

SPECS = [
    SpikeSpec(),
    SpikeSpec(ranges="own"),
    SpikeSpec(coding="radix", backend="blocked"),
    SpikeSpec(num_levels=256, num_steps=2, ranges="own"),
]


def quantised(outputs: int = 12, features: int = 63, kind: str = "plain", seed: int = 0) -> QuantisedWeight:
    w = torch.randn(outputs, features, generator=torch.Generator().manual_seed(seed))
    if kind == "plain":
        return QuantisedWeight(((None, weight_encode(w, 4)),), (outputs, features))
    if kind == "groups":
        return QuantisedWeight(((None, weight_encode(w, 3, group_size=16)),), (outputs, features))
    order = torch.randperm(features, generator=torch.Generator().manual_seed(1))
    parts = ((order[:9], weight_encode(w[:, order[:9]], 8)), (order[9:], weight_encode(w[:, order[9:]], 2)))
    return QuantisedWeight(parts, (outputs, features))


@settings(max_examples=40)
@given(
    spec=st.sampled_from(SPECS),
    kind=st.sampled_from(["plain", "groups", "mixed"]),
    lead=st.sampled_from([(1,), (3,), (2, 3, 5)]),
    rotated=st.booleans(),
    bias=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_it_gives_what_the_definition_gives(spec, kind, lead, rotated, bias, seed) -> None:
    random = torch.Generator().manual_seed(seed)
    weight, salient = quantised(kind=kind), torch.rand(63, generator=random) < 0.2
    b = torch.randn(12, generator=random) if bias else None
    rotation = OnlineRotation((32, 31), seed=3) if rotated else None
    layer = PackedSpikeLinear.from_weight(weight, b, spec, salient, rotation).eval()
    x = torch.randn(*lead, 63, generator=random)
    code = gif_encode(x if rotation is None else rotation(x), salient=salient, **neuron_settings(spec))
    with torch.no_grad():
        torch.testing.assert_close(layer(x), spike_product(code, weight, b), rtol=0, atol=0)
    assert torch.equal(layer.weight, weight.dequantise())


@pytest.mark.parametrize("kind", ["plain", "groups", "mixed"])
def test_it_holds_buffers_only_and_as_many_bytes_as_it_says(kind: str) -> None:
    weight = quantised(kind=kind)
    layer = PackedSpikeLinear.from_weight(
        weight, torch.randn(12), SpikeSpec(), rotation=OnlineRotation((32, 31), seed=3)
    )
    assert not list(layer.parameters())
    signs, salient = 63, 63
    assert layer.storage_bits == 8 * (weight.storage_bytes + signs + salient) / (12 * 63)
    assert layer.storage_bits == 8 * (sum(part.nbytes for part in layer.state_dict().values()) - 4 * 12) / (12 * 63)
    assert {str(part.dtype) for part in layer.state_dict().values()} <= {
        "torch.uint8", "torch.int8", "torch.float32", "torch.int32", "torch.bool"
    }  # fmt: skip


@pytest.mark.parametrize("spec", [SpikeSpec(ranges="own"), None])
@pytest.mark.parametrize("kind", ["plain", "groups", "mixed"])
def test_what_is_saved_comes_back_into_an_empty_layer(tmp_path, spec, kind: str) -> None:
    salient = torch.arange(63) % 7 == 0
    layer = PackedSpikeLinear.from_weight(quantised(kind=kind), torch.randn(12), spec, salient).eval()
    save_file(layer.state_dict(), tmp_path / "layer.safetensors")
    with torch.device("meta"):
        other = PackedSpikeLinear.empty(layer.describe(), spec).eval()
    other.load_state_dict(load_file(tmp_path / "layer.safetensors"), assign=True)
    x = torch.randn(5, 63)
    with torch.no_grad():
        assert torch.equal(other(x), layer(x))
    assert repr(other) == repr(layer)


def test_what_was_made_for_products_is_made_again_when_something_changes() -> None:
    layer = PackedSpikeLinear.from_weight(quantised(), torch.randn(12), SpikeSpec(), torch.arange(63) < 6).eval()
    x = torch.randn(4, 63)

    def fresh() -> torch.Tensor:
        return copy.deepcopy(layer)(x)

    changes = (
        lambda: layer.load_state_dict(
            PackedSpikeLinear.from_weight(quantised(seed=9), torch.randn(12), SpikeSpec()).state_dict()
        ),
        lambda: layer.salient.logical_not_(),
        lambda: setattr(layer, "spec", dataclasses.replace(layer.spec, num_steps=4)),
        lambda: layer.bias.add_(1),
        lambda: layer.packed_0.bitwise_not_(),
    )
    with torch.no_grad():
        before = layer(x)
        for change in changes:
            change()
            now = layer(x)
            assert not torch.equal(now, before)
            assert torch.equal(now, fresh())
            before = now


def test_scales_stay_float32_in_a_half_precision_model() -> None:
    layer = PackedSpikeLinear.from_weight(quantised(), torch.randn(12), SpikeSpec()).eval()
    x = torch.randn(4, 63).to(torch.bfloat16)
    with torch.no_grad():
        before = layer(x.float())
        half = nn.Sequential(copy.deepcopy(layer)).to(torch.bfloat16)
        assert half(x).dtype == torch.bfloat16
        torch.testing.assert_close(half(x).float(), before, rtol=1e-2, atol=1e-2 * float(before.abs().max()))
    assert half[0].scale_0.dtype == half[0].bias.dtype == torch.float32
    assert torch.equal(half[0].scale_0, layer.scale_0)


def test_a_gradient_reaches_the_input() -> None:
    layer = PackedSpikeLinear.from_weight(quantised(), None, SpikeSpec()).eval()
    x = torch.randn(4, 63, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    with torch.no_grad():
        torch.testing.assert_close(layer(x), y, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(4, 63), rtol=1e-4, atol=1e-4)


def test_training_leaves_the_salient_features_alone() -> None:
    layer = PackedSpikeLinear.from_weight(quantised(), None, SpikeSpec(reselect_every=1), torch.arange(63) < 6).train()
    layer(torch.randn(4, 63, requires_grad=True))
    assert torch.equal(layer.salient, torch.arange(63) < 6)
    assert not layer.gathers


def test_its_spikes_are_counted_and_its_operations_seen() -> None:
    spec = SpikeSpec(num_steps=2)
    model = nn.Sequential(PackedSpikeLinear.from_weight(quantised(), None, spec, torch.arange(63) < 6)).eval()
    x = torch.randn(5, 63)
    with torch.no_grad(), SpikeRecorder(model) as recorder:
        model(x)
    (layer,) = recorder.report().layers
    assert (layer.kind, layer.in_features, layer.out_features, layer.tokens) == ("linear", 63, 12, 5)
    assert layer.dense_macs == 5 * 63 * 12
    assert layer.unary_events == int(model[0].encode(x).counts.sum())
    with torch.no_grad(), counting_flops() as meter:
        model(x)
    assert meter.total == 2 * 5 * 63 * 12
    assert [kind_of(model[0]), kind_of(PackedLinear.from_weight(quantised(), None))] == ["spiking", "linear"]


def test_on_the_meta_device_only_shapes_are_known() -> None:
    with torch.device("meta"):
        layer = PackedSpikeLinear.empty(
            PackedSpikeLinear.from_weight(quantised(), None, SpikeSpec()).describe(), SpikeSpec()
        )
        y = layer.eval()(torch.empty(2, 5, 63))
    assert (y.device.type, y.shape) == ("meta", (2, 5, 12))


@settings(max_examples=30)
@given(
    kind=st.sampled_from(["plain", "groups", "mixed"]),
    lead=st.sampled_from([(1,), (3,), (2, 30)]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    seed=st.integers(0, 2**16),
)
def test_float_tokens_meet_the_values_of_the_weight(kind, lead, dtype, seed) -> None:
    random = torch.Generator().manual_seed(seed)
    weight, bias = quantised(kind=kind), torch.randn(12, generator=random)
    layer = PackedSpikeLinear.from_weight(weight, bias, None).eval()
    assert not isinstance(layer, GIF)
    x = torch.randn(*lead, 63, generator=random).to(dtype)
    want = nn.functional.linear(x.double(), weight.dequantise().double(), bias.double())
    tolerance = 1e-5 if dtype == torch.float32 else 4 * torch.finfo(dtype).eps
    with torch.no_grad():
        found = layer(x)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), want, rtol=tolerance, atol=tolerance * float(want.abs().max()))
    leaf = x.clone().requires_grad_()
    layer(leaf).sum().backward()
    torch.testing.assert_close(leaf.grad.float(), weight.dequantise().sum(0).expand(x.shape), rtol=0.05, atol=0.2)


@pytest.mark.parametrize("rows", [3, 40])
def test_no_float_product_is_one_of_before(rows: int) -> None:
    layer = PackedLinear.from_weight(quantised(), torch.randn(12)).eval()
    x = torch.randn(rows, 63)

    def check() -> torch.Tensor:
        y = layer(x)
        torch.testing.assert_close(y, nn.functional.linear(x, layer.weight, layer.bias), rtol=1e-4, atol=1e-4)
        return y

    other = PackedLinear.from_weight(quantised(seed=9), torch.randn(12))
    changes = (
        lambda: layer.load_state_dict(other.state_dict()),
        lambda: layer.load_state_dict(
            {name: part.clone() for name, part in layer.state_dict().items()} | {"bias": torch.zeros(12)}, assign=True
        ),
        lambda: layer.bias.add_(1),
        lambda: layer.packed_0.bitwise_not_(),
        lambda: setattr(layer, "scale_0", layer.scale_0 * 2),
    )
    with torch.no_grad():
        before = check()
        for change in changes:
            change()
            now = check()
            assert not torch.equal(now, before)
            before = now
        assert torch.equal(copy.deepcopy(layer)(x), before)
        torch.testing.assert_close(layer.double()(x.double()), before.double(), rtol=1e-4, atol=1e-4)
        half = layer.to(torch.bfloat16)(x.bfloat16())
        torch.testing.assert_close(half.float(), before, rtol=0.02, atol=0.02 * float(before.abs().max()))


def test_what_has_no_zero_point_is_not_packed() -> None:
    code = WeightCode(torch.ones(2, 3, dtype=torch.int16), torch.ones(2, 1), 4)
    with pytest.raises(ShapeError):
        PackedSpikeLinear.from_weight(QuantisedWeight(((None, code),), (2, 3)), None, SpikeSpec())


def test_it_says_what_it_is() -> None:
    text = repr(PackedSpikeLinear.from_weight(quantised(kind="mixed"), None, SpikeSpec()))
    assert "in_features=63, out_features=12, bias=False, weights 9 in 8 bits + 54 in 2 bits, Q=16, S=2" in text
    assert "groups of 16" in repr(PackedLinear.from_weight(quantised(kind="groups"), None))


@torch.no_grad()
def test_floats_of_another_width_are_refused() -> None:
    layer = PackedSpikeLinear.from_weight(quantised(), None, None)
    for width in (126, 60):
        with pytest.raises(ShapeError, match="63"):
            layer(torch.randn(5, width))
