"""One contract for every surrogate gradient."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from darkit_nb.errors import ConfigError
from darkit_nb.functional.surrogate import SURROGATES, heaviside

NAMES = sorted(SURROGATES)
MATHS = {"pi": math.pi, "exp": math.exp, "sqrt": math.sqrt, "abs": abs, "max": max, "__builtins__": {}}


def derivative(name: str, z: torch.Tensor, alpha: float | None = None) -> torch.Tensor:
    z = z.clone().requires_grad_()
    heaviside(z, name, alpha).backward(torch.ones_like(z))
    assert z.grad is not None
    return z.grad


def test_the_field_is_covered() -> None:
    assert {"straight_through", "rectangle", "triangle", "arctan", "sigmoid", "fast_sigmoid", "gaussian"} <= set(NAMES)
    assert len({SURROGATES[name].code for name in NAMES}) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_forward_is_the_inclusive_step(name: str, dtype: torch.dtype) -> None:
    z = torch.tensor([-1e30, -1.0, -1e-7, -0.0, 0.0, 1e-7, 2.0, math.inf, -math.inf, math.nan]).to(dtype)
    fired = heaviside(z, name)
    assert fired.dtype == dtype
    assert torch.equal(fired, torch.tensor([float(v >= 0) for v in z.tolist()], dtype=dtype))


@pytest.mark.parametrize("name", NAMES)
@given(z=st.floats(-50, 50), alpha=st.floats(0.1, 20))
def test_derivative_is_the_stated_formula_even_and_peaked(name: str, z: float, alpha: float) -> None:
    got = derivative(name, torch.tensor([z, -z, 0.0], dtype=torch.float64), alpha)
    stated = eval(SURROGATES[name].formula, {**MATHS, "z": z, "alpha": alpha})  # noqa: S307 - our own constant
    assert got[0].item() == pytest.approx(stated, rel=1e-12, abs=1e-300)
    assert got[0] == got[1]
    assert 0 <= got[0] <= got[2] * (1 + 1e-15) < math.inf


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2), (torch.float16, 2e-3)])
def test_low_precision_follows_double(name: str, dtype: torch.dtype, tolerance: float) -> None:
    z = torch.linspace(-3, 3, 97).to(dtype)
    got = derivative(name, z)
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), derivative(name, z.double()), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_far_from_threshold_is_finite(name: str) -> None:
    assert torch.isfinite(derivative(name, torch.tensor([-3e38, -1e20, 1e20, 3e38]))).all()


def test_gradient_is_scaled_by_the_incoming_one() -> None:
    z = torch.zeros(3, requires_grad=True)
    heaviside(z, "triangle", 2.0).backward(torch.tensor([1.0, -2.0, 0.5]))
    assert z.grad is not None
    assert z.grad.tolist() == [2.0, -4.0, 1.0]


def test_unknown_name_and_bad_sharpness_are_refused() -> None:
    with pytest.raises(ConfigError, match="no surrogate") as unknown:
        heaviside(torch.zeros(1), "atan")
    assert "arctan" in str(unknown.value)
    for alpha in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match="sharpness"):
            heaviside(torch.zeros(1), "arctan", alpha)
