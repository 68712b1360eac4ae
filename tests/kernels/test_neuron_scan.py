"""`kernels/neuron_scan.cu` through the host code that CuPy gets, on fibers, against the definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from darkit_nb.functional.neuron import neuron_scan
from darkit_nb.functional.surrogate import SURROGATES
from darkit_nb.ops import _neuron_kernel
from darkit_nb.ops._neuron_blocked import NeuronLaw
from darkit_nb.ops._neuron_kernel import ScanKernel
from tests.kernels.shim import ShimLauncher

few = settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])

LAWS = [
    *(NeuronLaw(surrogate=name) for name in sorted(SURROGATES)),
    NeuronLaw("hard"),
    NeuronLaw("hard", detach_reset=True),
    NeuronLaw(detach_reset=True),
    NeuronLaw(max_count=4),
    NeuronLaw(max_count=4, detach_reset=True),
]
STEPS = st.sampled_from([1, 2, 7, 8, 9, 17])
NEURONS = st.sampled_from([1, 63, 129])


def inputs(steps: int, neurons: int, per_neuron: bool, seed: int) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    shape = (neurons,) if per_neuron else ()
    x, state = torch.randn(steps, neurons, generator=random) * 2, torch.randn(neurons, generator=random)
    return [x, state, torch.rand(shape, generator=random), torch.rand(shape, generator=random) + 0.5]


def run(scan: Any, values: list[torch.Tensor], grads: tuple[torch.Tensor, ...]) -> list[torch.Tensor | None]:
    """Spikes, final membrane and the gradients of every input."""
    leaves = [value.clone().requires_grad_() for value in values]
    outputs = scan(*leaves)
    torch.autograd.backward(outputs, grads)
    return [*(output.detach() for output in outputs), *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize("law", LAWS, ids=str)
@few
@given(steps=STEPS, neurons=NEURONS, per_neuron=st.booleans(), seed=st.integers(0, 999))
def test_spikes_membrane_and_every_gradient(
    shim: ShimLauncher, law: NeuronLaw, steps: int, neurons: int, per_neuron: bool, seed: int
) -> None:
    values = inputs(steps, neurons, per_neuron, seed)
    grads = torch.randn(steps, neurons), torch.randn(neurons)
    ours = run(lambda *leaves: ScanKernel.apply(*leaves, law, shim), values, grads)
    theirs = run(lambda x, v, beta, theta: neuron_scan(x, v, decay=beta, threshold=theta, **vars(law)), values, grads)
    torch.testing.assert_close(ours[:2], theirs[:2], rtol=0, atol=0)
    # The largest gradient sets the size of rounding errors: membranes grow with the surrogate's slope over the steps.
    for got, expected in zip(ours[2:], theirs[2:], strict=True):
        assert got is not None
        assert expected is not None
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5 * (1 + float(expected.abs().max())))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_a_float32_membrane(shim: ShimLauncher, dtype: torch.dtype) -> None:
    law = NeuronLaw("hard")
    x, state, beta, theta = inputs(9, 129, False, 3)
    x = x.to(dtype)
    spikes, last = ScanKernel.apply(x, state, beta, theta, law, shim)
    expected, membrane = neuron_scan(x, state, decay=beta, threshold=theta, **vars(law))
    assert spikes.dtype == dtype
    assert last.dtype == torch.float32
    torch.testing.assert_close((spikes, last), (expected, membrane), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_conversions_without_headers_are_exact(shim: ShimLauncher, dtype: torch.dtype) -> None:
    """A neuron that never fires hands its input to the membrane and its membrane's gradient to the input."""
    x = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)[None].requires_grad_()
    constants = torch.zeros(x.shape[1]), torch.tensor(0.0), torch.tensor(torch.inf)
    law = NeuronLaw("hard", surrogate="rectangle", detach_reset=True)
    spikes, last = ScanKernel.apply(x, *constants, law, shim)
    finite = x[0].isfinite()
    torch.testing.assert_close(last[finite], x[0, finite].float().detach(), rtol=0, atol=0)
    # Neighbours of every representable value, their midpoints (ties) among them, small, large and infinite.
    grad = last.detach().nan_to_num() * torch.tensor([1.0, 1 + 2**-11, 1 + 2**-9, 1 + 2**-8 + 2**-20]).repeat(2**14)
    torch.autograd.backward((spikes, last), (torch.zeros_like(spikes), grad))
    assert x.grad is not None
    torch.testing.assert_close(x.grad[0], grad.to(dtype), rtol=0, atol=0)


def test_constants_that_need_no_gradient_get_none(shim: ShimLauncher) -> None:
    x, state, beta, theta = inputs(3, 63, True, 1)
    x.requires_grad_()
    spikes, _ = ScanKernel.apply(x, state, beta, theta, NeuronLaw(), shim)
    spikes.sum().backward()
    assert x.grad is not None
    assert ("DK_LEARN", 0) in shim.launches[-1].defines
    assert shim.launches[-1].arguments[8:11] == (None, None, None)


def test_a_launch_covers_more_neurons_than_threads(shim: ShimLauncher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_neuron_kernel, "MAX_BLOCKS", 1)
    values = inputs(9, 300, True, 5)
    grads = torch.randn(9, 300), torch.randn(300)
    ours = run(lambda *leaves: ScanKernel.apply(*leaves, NeuronLaw(), shim), values, grads)
    theirs = run(lambda x, v, beta, theta: neuron_scan(x, v, decay=beta, threshold=theta), values, grads)
    assert shim.launches[-1].grid == (1, 1)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_nan_stays_visible_in_an_integer_neuron(shim: ShimLauncher) -> None:
    x = torch.full((2, 3), torch.nan)
    constants = torch.zeros(3), torch.tensor(0.5), torch.tensor(1.0)
    spikes, last = ScanKernel.apply(x, *constants, NeuronLaw(max_count=4), shim)
    assert spikes.isnan().all()
    assert last.isnan().all()
