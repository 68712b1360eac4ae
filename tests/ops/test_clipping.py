"""Clipped weights by blocks of outputs: outputs and every gradient against the definition, whoever computes them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from darkit_nb.errors import BackendError
from darkit_nb.functional import clipping as reference
from darkit_nb.nn.kronecker import kronecker_factors
from darkit_nb.ops import _clipping_blocked, _clipping_native, clipping
from darkit_nb.ops._clipping_blocked import Clipped
from darkit_nb.ops.native_build import LEVELS
from tests.ops.native import need_library, poisoned, use_level

HANDS = ["blocked", *LEVELS]
SHAPES: dict[str, tuple[int, int, int | None, int, tuple[str, ...]]] = {  # outputs, features, group size, bits, scales
    "plain": (7, 13, None, 4, ()),
    "one output": (1, 1, None, 2, ("reads", "writes")),
    "scaled": (63, 60, None, 4, ("reads", "writes", "bias")),
    "groups": (70, 60, 16, 3, ("reads", "bias")),
    "uneven groups": (130, 61, 25, 2, ("writes",)),
    "mixed": (33, 30, None, 4, ("reads", "writes", "mixing", "bias")),
    "mixed groups": (65, 24, 10, 8, ("mixing",)),
    "a cache line and one": (17, 577, None, 8, ("reads",)),
}


@contextmanager
def by(hand: str) -> Iterator[Any]:
    """The backend to ask for, with memory that shows what nobody wrote."""
    if hand == "blocked":
        with poisoned():
            yield "blocked"
    else:
        need_library()
        with use_level(hand), poisoned():
            yield "native"


def weights_of(outputs: int, features: int) -> Tensor:
    """Some outputs are all zero, without a negative weight, or have ties at their ends."""
    weight = torch.randn(outputs, features).mul(64).round() / 64
    if outputs > 4:
        weight[1], weight[2], weight[3] = weight[1].abs(), -weight[2].abs(), weight[3].sign()
        weight[4] = 0
    return weight


def broken(weight: Tensor) -> Tensor:
    """The same with outputs that hold no numbers, or tiny and huge ones."""
    weight = weight.clone()
    for output, value in enumerate((math.nan, math.inf, -math.inf, 1e-40, 3e38)):
        weight[output::8, -1] = value
    return weight


def leaves(name: str) -> dict[str, Any]:
    """Tensors of a case.

    What scales and mixes weights has few bits, so that a weight is the same in whatever order its products are summed
    and none falls on the other side of a rounding.
    """
    outputs, features, group_size, _, scales = SHAPES[name]
    torch.manual_seed(len(name))
    weight = weights_of(outputs, features)
    shares = [2 * torch.randn(outputs, reference.group_count(features, group_size)) for _ in range(2)]
    given = {
        "reads": torch.randint(-1, 2, (features,)).float().exp2(),
        "writes": torch.randint(-1, 2, (outputs,)).float().exp2(),
        "bias": torch.randn(outputs),
        "mixing": tuple(torch.eye(n) + torch.randint(-1, 2, (n, n)) / 4 for n in kronecker_factors(features)),
    }
    chosen = {key: value for key, value in given.items() if key in scales}
    return {"x": torch.randn(2, 9, features), "weight": weight, "upper": shares[0], "lower": shares[1], **chosen}


def results(function: Any, name: str, tensors: dict[str, Any], **more: Any) -> dict[str, Tensor]:
    """Output and gradients by name."""
    _, _, group_size, bits, _ = SHAPES[name]
    own: dict[str, Any] = {
        key: tuple(each.clone().requires_grad_() for each in value)
        if isinstance(value, tuple)
        else value.clone().requires_grad_()
        for key, value in tensors.items()
    }
    flat = {key: value for key, value in own.items() if key != "mixing"}
    flat |= dict(zip(("left", "right"), own.get("mixing", ()), strict=False))
    positional = [own.pop(key, None) for key in ("x", "weight", "bias", "upper", "lower")]
    y = function(*positional, bits=bits, group_size=group_size, **own, **more)
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float32).to(y.dtype)
    found = torch.autograd.grad(y, list(flat.values()), grad)
    return {"y": y.detach(), **dict(zip(flat, found, strict=True))}


@pytest.mark.parametrize("several", [False, True], ids=["one block", "several"])
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("hand", HANDS)
def test_outputs_and_gradients_are_those_of_the_definition(
    hand: str, name: str, several: bool, monkeypatch: pytest.MonkeyPatch
):
    if several:
        monkeypatch.setattr(clipping, "BLOCK", 1)
        monkeypatch.setattr(clipping, "LEAST_OUTPUTS", 40)
    tensors = leaves(name)
    wanted = results(reference.clipped_linear, name, tensors)
    with by(hand) as backend:
        found = results(clipping.clipped_linear, name, tensors, backend=backend)
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        assert (found[key] - value).norm() <= 3e-6 * value.norm(), key


@pytest.mark.parametrize("name", [name for name in SHAPES if "mixed" not in name])
@pytest.mark.parametrize("hand", HANDS)
def test_values_are_bit_equal(hand: str, name: str):
    tensors, (_, features, group_size, bits, _) = leaves(name), SHAPES[name]
    lower, upper = tensors["lower"], tensors["upper"]
    reads, writes = tensors.get("reads"), tensors.get("writes")
    scaled = reference.scaled_weight(tensors["weight"], reads, writes)
    wanted = reference.clipped_quantise(scaled, upper, lower, bits=bits, group_size=group_size)
    source = Clipped(tensors["weight"], reads, writes, lower.sigmoid(), upper.sigmoid(), bits, group_size or features)
    module = _clipping_blocked if hand == "blocked" else _clipping_native
    with by(hand):
        values, ends = module.encode(source)
        again = module.differentiate(source, ends, torch.randn_like(values)).values
    assert torch.equal(values, wanted)
    assert torch.equal(again, wanted)


@pytest.mark.parametrize("hand", HANDS)
def test_outputs_that_hold_no_numbers_leave_the_others_alone(hand: str):
    tensors, (_, _, group_size, bits, _) = leaves("uneven groups"), SHAPES["uneven groups"]
    module = _clipping_blocked if hand == "blocked" else _clipping_native
    weights = [tensors["weight"], broken(tensors["weight"])]
    shares, found = torch.full((2, *tensors["lower"].shape), 0.5), []
    with by(hand):
        for weight in weights:
            source = Clipped(weight, None, tensors["writes"], *shares, bits, group_size or 61)
            values, ends = module.encode(source)
            gradient = module.differentiate(source, ends, torch.ones_like(values))
            found.append((values, gradient.values, gradient.scaled, gradient.lower, gradient.upper, gradient.writes))
    scaled = reference.scaled_weight(weights[1], None, tensors["writes"])
    wanted = reference.clipped_quantise(scaled, *torch.zeros_like(shares), bits=bits, group_size=group_size)
    torch.testing.assert_close(found[1][0], wanted, rtol=0, atol=0, equal_nan=True)
    sound = (weights[0] == weights[1]).all(1)
    assert 0 < sound.sum() < len(sound)
    assert all(torch.equal(one[sound], other[sound]) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("hand", HANDS)
def test_a_scale_that_just_reaches_its_floor_still_learns(hand: str):
    weight = torch.tensor([[6 * reference.SCALE_FLOOR, 0.0]])
    share = torch.full((1, 1), 0.5)
    module = _clipping_blocked if hand == "blocked" else _clipping_native
    with by(hand):
        source = Clipped(weight, None, None, share, share, 2, 2)
        found = module.differentiate(source, module.encode(source)[1], torch.ones(1, 2))
    upper = torch.zeros(1, 1, requires_grad=True)
    reference.clipped_quantise(weight, upper, torch.zeros(1, 1), bits=2).sum().backward()
    assert upper.grad is not None
    assert upper.grad.any()
    assert torch.equal(found.upper / 4, upper.grad)


@pytest.mark.parametrize("hand", HANDS)
def test_no_tokens_at_all_have_gradients_of_zero(hand: str):
    tensors = {**leaves("scaled"), "x": torch.randn(2, 0, 60)}
    with by(hand) as backend:
        found = results(clipping.clipped_linear, "scaled", tensors, backend=backend)
    assert found.pop("y").shape == (2, 0, 63)
    assert not any(gradient.any() for gradient in found.values())


def test_any_number_of_threads_gives_the_same_bits():
    need_library()
    weight, shares, reads = torch.randn(200, 600), torch.rand(2, 200, 6), torch.rand(600)
    source, threads, found = Clipped(weight, reads, None, *shares, 4, 100), torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            values, ends = _clipping_native.encode(source)
            gradient = _clipping_native.differentiate(source, ends, torch.cos(weight))
            found.append((values, ends, gradient.scaled, gradient.lower, gradient.upper, gradient.reads))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("hand", HANDS)
def test_a_step_gives_the_same_bits_twice_and_leaves_its_weight_as_it_was(hand: str):
    tensors = leaves("plain")
    before = tensors["weight"].clone()
    with by(hand) as backend:
        one, other = (results(clipping.clipped_linear, "plain", tensors, backend=backend) for _ in range(2))
    assert torch.equal(tensors["weight"], before)
    assert all(torch.equal(value, other[key]) for key, value in one.items())


@pytest.mark.parametrize("mixing", [False, True])
def test_nothing_of_the_size_of_the_weight_is_kept(mixing: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(clipping, "BLOCK", 64 * 256)
    x, weight, share = torch.randn(8, 256), torch.randn(512, 256), torch.zeros(512, 1, requires_grad=True)
    matrices = (torch.eye(16).requires_grad_(), torch.eye(16).requires_grad_()) if mixing else None
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        clipping.clipped_linear(x, weight, None, share, share, bits=4, mixing=matrices)
    kept.pop(weight.untyped_storage().data_ptr(), None)
    assert sum(kept.values()) < weight.nbytes / 4


def test_double_precision_is_the_definition():
    tensors = {
        key: tuple(each.double() for each in value) if isinstance(value, tuple) else value.double()
        for key, value in leaves("mixed").items()
    }
    wanted = results(reference.clipped_linear, "mixed", tensors)
    found = results(clipping.clipped_linear, "mixed", tensors)
    assert all(torch.equal(value, wanted[key]) for key, value in found.items())


def test_a_backend_that_cannot_be_had_is_named():
    tensors = leaves("plain")
    with pytest.raises(BackendError, match="cupy"):
        results(clipping.clipped_linear, "plain", tensors, backend="cupy")
