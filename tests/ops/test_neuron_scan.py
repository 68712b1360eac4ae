"""Cache blocks give the reference's spikes, membranes and gradients, whatever the shape and wherever blocks end."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from darkit_nb.errors import BackendError
from darkit_nb.functional import neuron as reference
from darkit_nb.ops import _neuron_blocked
from darkit_nb.ops.neuron_scan import neuron_scan
from tests.ops.native import without_library

LAWS = [
    {},
    {"reset": "hard", "surrogate": "sigmoid"},
    {"surrogate": "triangle", "detach_reset": True, "alpha": 0.5},
    {"max_count": 4},
    {"max_count": 4, "detach_reset": True},
]


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.sampled_from([1, 4, 9]),
    shape=st.sampled_from([(1,), (63,), (3, 129), (2, 0), (5, 4, 7)]),
    learned=st.sampled_from(["numbers", "scalars", "last axis"]),
)
def test_blocks_are_the_reference(monkeypatch: pytest.MonkeyPatch, law, dtype, steps, shape, learned) -> None:
    without_library(monkeypatch)
    monkeypatch.setattr(_neuron_blocked, "SMALLEST", 50)
    monkeypatch.setattr(_neuron_blocked, "BLOCK_ELEMENTS", 1)
    monkeypatch.setattr(_neuron_blocked, "FORWARD_ELEMENTS", 1)
    wide = reference.compute_dtype(torch.empty(0, dtype=dtype))
    x, state = (torch.randn(steps, *shape) * 2).to(dtype), torch.randn(shape).to(wide)
    constants = [0.7, 1.3]
    if learned != "numbers":
        size = () if learned == "scalars" else shape[-1:]
        constants = [torch.rand(size).to(wide), torch.rand(size).to(wide) + 0.5]
    grads = torch.randn(x.shape).to(dtype), torch.randn(shape).to(wide)
    results = []
    for scan in (neuron_scan, reference.neuron_scan):
        leaves = [torch.as_tensor(value).clone().requires_grad_() for value in (x, state, *constants)]
        given_constants = leaves[2:] if learned != "numbers" else constants
        outputs = scan(*leaves[:2], decay=given_constants[0], threshold=given_constants[1], **law)
        torch.autograd.backward(outputs, grads)
        results.append([*outputs, *(leaf.grad for leaf in leaves)])
    ours, theirs = results
    torch.testing.assert_close(ours[:2], theirs[:2], rtol=0, atol=0)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-4, torch.bfloat16: 1e-2}[dtype]
    for got, expected in zip(ours[2:], theirs[2:], strict=True):
        if learned == "numbers" and got is None and expected is None:
            continue
        size = 1 + float(expected.abs().amax()) if expected.numel() else 1.0
        torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance * size)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_neurons_at_rest_and_constants_that_are_numbers(monkeypatch: pytest.MonkeyPatch, law: dict) -> None:
    """What the test above has not: no membrane, so the first step is another operation; and the quick backward."""
    without_library(monkeypatch)
    monkeypatch.setattr(_neuron_blocked, "FORWARD_ELEMENTS", 4096)
    torch.manual_seed(0)
    x, grad = torch.randn(5, 3001) * 2, torch.randn(5, 3001)
    x[0, :2] = torch.tensor([-0.0, torch.nan])
    results = []
    for scan in (neuron_scan, reference.neuron_scan):
        leaf = x.clone().requires_grad_()
        spikes, last = scan(leaf, decay=0.7, threshold=1.1, **law)
        spikes.backward(grad)
        results.append((spikes, last, leaf.grad))
    torch.testing.assert_close(*(found[:2] for found in results), rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(results[0][2], results[1][2], rtol=1e-5, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("decay", [0.0, 1e-3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("size", [1e-44, 1e-38, 1.0, 1e38])
def test_charging_rounds_twice(decay: float, size: float) -> None:
    """One operation instead of two, at the ends of the exponents too, in vectors and in what is left over."""
    random = torch.Generator().manual_seed(0)
    v, x = torch.randn(2, 2001, generator=random) * size
    v[:3], x[2:5] = (torch.tensor([math.nan, math.inf, -0.0]) for _ in range(2))
    beta, found = torch.tensor(decay), torch.empty_like(v)
    expected = v * beta + x
    # Of every neuron, so that nothing is fused; a number, in the place of the membrane and elsewhere.
    for constant, out in ((beta.expand(2001), found), (beta, found), (beta, v)):
        got = _neuron_blocked._charge(v, x, constant, out)
        assert torch.equal(got.nan_to_num(7.0).view(torch.int32), expected.nan_to_num(7.0).view(torch.int32))


def test_memory_of_the_graph_is_the_input_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    without_library(monkeypatch)
    x = torch.randn(16, 1000, requires_grad=True)
    held: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: held.append(t.numel()) or t, lambda t: t):
        neuron_scan(x, decay=0.5)
    assert sum(held) <= x.numel() + x.shape[1] + 2


def test_a_backend_that_cannot_be_had_is_refused() -> None:
    with pytest.raises(BackendError, match="cupy"):
        neuron_scan(torch.randn(2, 3), backend="cupy")
