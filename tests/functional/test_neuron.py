"""The temporal neuron: its equations by hand, its gradients in double, its state as a value."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from darkit_nb.errors import ConfigError, ShapeError
from darkit_nb.functional.neuron import neuron_scan


def by_hand(x: list[float], v: float, decay: float, threshold: float, reset: str, max_count: int | None) -> tuple:
    spikes = []
    for current in x:
        h = decay * v + current
        fired = float(h >= threshold) if max_count is None else float(round(min(max(h / threshold, 0.0), max_count)))
        v = h - threshold * fired if reset == "soft" else h * (1 - fired)
        spikes.append(fired)
    return spikes, v


FORMS = [("soft", None), ("hard", None), ("soft", 1), ("soft", 4)]


@pytest.mark.parametrize(("reset", "max_count"), FORMS)
@given(
    x=st.lists(st.floats(-4, 4), min_size=1, max_size=9),
    v=st.floats(-2, 2),
    decay=st.floats(0, 1),
    threshold=st.floats(0.25, 3),
)
def test_every_step_is_the_equation(reset, max_count, x, v, decay, threshold) -> None:
    settings = {"decay": decay, "threshold": threshold, "reset": reset, "max_count": max_count}
    current, membrane = (torch.tensor(value, dtype=torch.float64) for value in (x, v))
    spikes, last = neuron_scan(current, membrane, **settings)
    expected, final = by_hand(x, v, decay, threshold, reset, max_count)
    assert spikes.tolist() == expected
    assert last.item() == final


@pytest.mark.parametrize(("reset", "max_count"), FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_steps_in_two_calls_are_steps_in_one(reset, max_count, dtype: torch.dtype) -> None:
    x = (torch.randn(9, 3, 7) * 2).to(dtype)
    settings = {"decay": 0.75, "threshold": 1.25, "reset": reset, "max_count": max_count}
    whole, end = neuron_scan(x, **settings)
    first, state = neuron_scan(x[:4], **settings)
    second, last = neuron_scan(x[4:], state, **settings)
    assert state.dtype == torch.float32
    assert whole.dtype == dtype
    assert torch.equal(torch.cat([first, second]), whole)
    assert torch.equal(last, end)


def test_charge_is_conserved_without_leak() -> None:
    x = torch.rand(16, 50, dtype=torch.float64) * 2
    for settings in ({}, {"max_count": 3}):
        spikes, v = neuron_scan(x, threshold=0.7, **settings)
        torch.testing.assert_close(v, x.sum(0) - 0.7 * spikes.sum(0))


def test_constant_drive_is_quantised() -> None:
    """IF with a half-charged membrane fires clip(floor(S·x/θ + ½), 0, S) times: the QCFS identity."""
    x = torch.linspace(-2, 3, 401, dtype=torch.float64)
    for steps in (1, 2, 4, 8):
        spikes, _ = neuron_scan(x.expand(steps, -1), torch.full_like(x, 0.5))
        assert torch.equal(spikes.sum(0), torch.floor(steps * x + 0.5).clamp(0, steps))


@pytest.mark.parametrize("detach", [False, True])
def test_gradients_of_the_published_lif(detach: bool) -> None:
    """Backward recursion as the SpikeGPT neuron states it: hard reset, arctan, δ = reset differentiated or not."""
    x = torch.randn(6, 11, dtype=torch.float64)
    g = torch.randn(6, 11, dtype=torch.float64)
    leaf = x.clone().requires_grad_()
    neuron_scan(leaf, decay=0.5, reset="hard", detach_reset=detach)[0].backward(g)
    membranes, v = [], torch.zeros(11, dtype=torch.float64)
    for current in x:
        h = 0.5 * v + current
        membranes.append(h)
        v = h * (1 - (h >= 1).double())
    carried, expected = torch.zeros(11, dtype=torch.float64), torch.zeros_like(x)
    for s in range(5, -1, -1):
        h = membranes[s]
        slope = 1 / (1 + (torch.pi * (h - 1)) ** 2)
        carried = g[s] * slope + carried * ((1 - (h >= 1).double()) - (0 if detach else 1) * h * slope)
        expected[s] = carried
        carried = 0.5 * carried
    torch.testing.assert_close(leaf.grad, expected)


def test_smooth_parts_of_learned_constants() -> None:
    """Where no neuron comes near its threshold, spikes are constant and finite differences see the whole gradient."""
    x = torch.full((4, 5), 0.1, dtype=torch.float64)
    x[1] = 50.0

    def membrane(decay: torch.Tensor, threshold: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        return neuron_scan(x, state, decay=decay, threshold=threshold, surrogate="rectangle", detach_reset=True)[1]

    inputs = [torch.full((5,), value, dtype=torch.float64, requires_grad=True) for value in (0.1, 30.0, 0.3)]
    assert torch.autograd.gradcheck(membrane, inputs)


def test_bad_input_is_refused() -> None:
    x = torch.randn(2, 3)
    for settings, error, words in (
        ({"decay": 1.5}, ConfigError, "0 ≤ decay ≤ 1"),
        ({"threshold": 0.0}, ConfigError, "threshold > 0"),
        ({"threshold": float("nan")}, ConfigError, "threshold > 0"),
        ({"reset": "none"}, ConfigError, "'soft' or 'hard'"),
        ({"max_count": 0}, ConfigError, "max_count"),
        ({"max_count": 4, "reset": "hard"}, ConfigError, "reset='soft'"),
        ({"max_count": 4, "surrogate": "arctan"}, ConfigError, "straight through"),
        ({"surrogate": "step"}, ConfigError, "arctan"),
        ({"decay": torch.zeros(2)}, ShapeError, "broadcastable"),
        ({"state": torch.zeros(4)}, ShapeError, "membrane"),
        ({"state": torch.zeros(3, dtype=torch.bfloat16)}, ShapeError, "float32"),
    ):
        with pytest.raises(error) as raised:
            neuron_scan(x, **settings)
        assert words in str(raised.value)
    for wrong in (torch.zeros(2, 3, dtype=torch.int64), torch.zeros(0, 3), torch.tensor(1.0)):
        with pytest.raises(ShapeError, match="at least one step"):
            neuron_scan(wrong)
