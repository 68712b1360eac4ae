"""Layers that share an encoding give what each gives alone, and never what belongs to another input or weight."""

from __future__ import annotations

import copy
import gc

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from darkit_nb.errors import ShapeError
from darkit_nb.functional.weight import QuantisedWeight, weight_encode
from darkit_nb.nn.kronecker import KroneckerTransform
from darkit_nb.nn.packed_linear import PackedSpikeLinear
from darkit_nb.nn.rotation import RangeCut
from darkit_nb.nn.shared_input import SharedInput
from darkit_nb.records.spike_spec import SpikeSpec
from tests.ops.native import need_library

SPECS = [
    SpikeSpec(num_steps=1, salient_fraction=0.0),
    SpikeSpec(ranges="own"),
    SpikeSpec(coding="radix", ranges="own"),
]


def weight_of(outputs: int, kind: str, seed: int) -> QuantisedWeight:
    w = torch.randn(outputs, 63, generator=torch.Generator().manual_seed(seed))
    if kind == "plain":
        return QuantisedWeight(((None, weight_encode(w, 4)),), (outputs, 63))
    if kind == "groups":
        return QuantisedWeight(((None, weight_encode(w, 3, group_size=16)),), (outputs, 63))
    halves = torch.arange(63).tensor_split(2)
    return QuantisedWeight(tuple((half, weight_encode(w[:, half], 4)) for half in halves), (outputs, 63))


def siblings(kind: str = "plain", spec: SpikeSpec | None = None, mixed: str = "none") -> list[PackedSpikeLinear]:
    salient, bias = torch.arange(63) % 7 == 0, torch.randn(33)
    transform = {"none": None, "learned": KroneckerTransform(7, 9), "cut": RangeCut(63, 8, keep=0.7)}[mixed]
    made = [
        PackedSpikeLinear.from_weight(
            weight_of(outputs, kind, seed), bias[:outputs] if seed else None, spec or SpikeSpec(), salient,
            copy.deepcopy(transform),
        ).eval()
        for seed, outputs in enumerate((33, 5, 16))
    ]  # fmt: skip
    assert all(isinstance(layer, PackedSpikeLinear) for layer in made)
    return made  # pyright: ignore[reportReturnType]


def share(layers: list[PackedSpikeLinear]) -> SharedInput:
    shared = SharedInput(layers)
    for layer in layers:
        layer.shared_input = shared
    return shared


def alone(layers: list[PackedSpikeLinear], x: torch.Tensor) -> list[torch.Tensor]:
    return [copy.deepcopy(layer)(x) for layer in layers]


@settings(max_examples=15)
@given(
    spec=st.sampled_from(SPECS),
    kind=st.sampled_from(["plain", "groups", "halves"]),
    lead=st.sampled_from([(1,), (3,), (2, 3, 5), (70,)]),
    mixed=st.sampled_from(["none", "learned", "cut"]),
    order=st.permutations(range(3)),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
@torch.no_grad()
def test_together_they_give_what_each_gives_alone(spec, kind, lead, mixed, order, dtype) -> None:
    layers = siblings(kind, spec, mixed)
    shared = share(layers)
    for _ in range(2):
        x = torch.randn(*lead, 63).to(dtype)
        for index in order:
            assert torch.equal(layers[index](x), alone(layers, x)[index])
        assert shared._left is None


@torch.no_grad()
def test_the_input_is_encoded_once() -> None:
    need_library()
    layers, seen = siblings(mixed="learned"), []
    share(layers)
    for layer in layers:
        assert layer.rotation is not None
        layer.rotation.register_forward_hook(lambda *_: seen.append(1))
    x = torch.randn(4, 63)
    for layer in layers:
        layer(x)
    assert len(seen) == 1


@torch.no_grad()
def test_what_is_left_is_of_this_input_and_these_weights() -> None:
    layers = siblings(mixed="learned")
    share(layers)
    x = torch.randn(4, 63)
    other = siblings(mixed="learned")[1].state_dict()
    transform = layers[1].rotation
    assert isinstance(transform, KroneckerTransform)
    changes = (
        lambda: x.mul_(2),
        lambda: layers[1].packed_0.bitwise_not_(),
        lambda: layers[1].load_state_dict(other),
        lambda: layers[1].salient.logical_not_(),
        lambda: transform.left.mul_(2),
        lambda: setattr(layers[1], "spec", SpikeSpec(num_steps=4)),
    )
    for change in changes:
        layers[0](x)
        change()
        for layer, wanted in zip(layers, alone(layers, x), strict=True):
            assert torch.equal(layer(x), wanted)
    layers[0](x)
    assert torch.equal(layers[1](x.clone()), alone(layers, x)[1])


@pytest.mark.parametrize("change", ["mask", "spec", "mixing", "parts"])
@torch.no_grad()
def test_layers_that_encode_otherwise_do_so_alone(change: str) -> None:
    layers = siblings(mixed="learned" if change == "mixing" else "none")
    if change == "mask":
        layers[1].salient.logical_not_()
    elif change == "spec":
        layers[1].spec = SpikeSpec(num_levels=8)
    elif change == "mixing":
        layers[1].rotation.right.add_(0.1)  # pyright: ignore
    else:
        layers[1] = siblings("halves")[1]
    share(layers)
    x = torch.randn(4, 63)
    for layer, wanted in zip(layers, alone(layers, x), strict=True):
        assert torch.equal(layer(x), wanted)


def test_gradients_listeners_and_inference_mode_see_every_layer() -> None:
    layers, heard = siblings(), []
    shared = share(layers)
    x = torch.randn(4, 63, requires_grad=True)
    sum(layer(x).sum() for layer in layers).backward()
    assert x.grad is not None
    with torch.inference_mode():
        y = torch.randn(4, 63)
        for layer, wanted in zip(layers, alone(layers, y), strict=True):
            assert torch.equal(layer(y), wanted)
    for layer in layers:
        layer.spike_listener = lambda neuron, code: heard.append(neuron)
    with torch.no_grad():
        for layer in layers:
            layer(x.detach())
    assert heard == layers
    assert shared._left is None


@torch.no_grad()
def test_a_sibling_that_is_heard_is_not_multiplied_in_vain() -> None:
    layers, heard = siblings(), []
    shared = share(layers)
    layers[1].spike_listener = lambda neuron, code: heard.append(neuron)
    for _ in range(2):
        x = torch.randn(4, 63)
        for layer, wanted in zip(layers, alone(layers, x), strict=True):
            assert torch.equal(layer(x), wanted)
    assert shared._left is None
    assert heard[-1] is layers[1]


@pytest.mark.parametrize("shares", [True, False])
@torch.no_grad()
def test_tokens_of_another_width_are_refused_before_and_behind_others(shares: bool) -> None:
    layers = siblings(spec=SPECS[0])
    if shares:
        share(layers)
    for _ in range(2):
        for x in (torch.randn(5, 126), torch.randn(5, 60)):
            with pytest.raises(ShapeError, match="63"):
                layers[0](x)
        layers[0](torch.randn(5, 63))


@torch.no_grad()
def test_nothing_is_kept_alive() -> None:
    layers = siblings()
    shared = share(layers)
    gc.disable()
    try:
        x = torch.randn(4, 63)
        layers[0](x)
        together = shared._together
        assert (shared._left is not None) == (together is not None and together.multiply is not None)
        del x
        assert shared._left is None
        model = nn.ModuleList(layers)
        weights = [layer.packed_0.untyped_storage()._weak_ref() for layer in layers]
        del layers, model
        assert all(torch.UntypedStorage._expired(each) for each in weights)
    finally:
        gc.enable()
