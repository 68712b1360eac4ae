"""Factors of a Hessian against those of LAPACK, and what is done about statistics that allow none."""

from __future__ import annotations

import pytest
import torch

from darkit_nb.convert.hessian import Hessian, damped_hessian, factor_lower, inverse_factor, invert_lower
from darkit_nb.errors import DataError, ShapeError
from tests.convert.test_ternary import stream


@pytest.mark.parametrize("act_order", [False, True])
def test_a_hessian_is_factored_once_and_knows_the_diagonal_of_its_inverse(act_order: bool):
    x = stream(100, 12)
    hessian = Hessian(x.T @ x / 100, act_order=act_order)
    damped, _ = damped_hessian(hessian.gram, 0.01)
    torch.testing.assert_close(hessian.inverse_diagonal, torch.linalg.inv(damped).diagonal())
    assert hessian.upper is hessian.upper
    assert hessian.diagonal[hessian.order].tolist() == sorted(hessian.diagonal.tolist(), reverse=True) or not act_order


def test_copied_features_are_damped_until_the_hessian_can_be_factored():
    x = stream(50, 8).repeat(1, 4)
    upper, dead, damping = inverse_factor(x.T @ x, 1e-18)
    assert damping > 1e-18
    assert not dead.any()
    assert torch.isfinite(upper).all()


@pytest.mark.parametrize("features", [1, 31, 70])
def test_factors_are_found_block_by_block(features: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("darkit_nb.convert.hessian.FACTOR_BLOCK", 16)
    x = stream(3 * features, features)
    matrix = x.T @ x
    factor = matrix.clone()
    assert factor_lower(factor)
    torch.testing.assert_close(factor, torch.linalg.cholesky(matrix))
    invert_lower(factor)
    torch.testing.assert_close(factor @ torch.linalg.cholesky(matrix), torch.eye(features, dtype=torch.float64))
    upper, _, _ = inverse_factor(matrix, 1e-9)
    torch.testing.assert_close(upper.T @ upper @ matrix, torch.eye(features, dtype=torch.float64), atol=1e-5, rtol=0)
    matrix[-1, -1] = -1.0
    assert not factor_lower(matrix)


@pytest.mark.parametrize(
    ("gram", "said"),
    [
        (-torch.ones(4, 4) + 2 * torch.eye(4), "singular"),
        (torch.full((3, 3), float("nan")), "not finite"),
        (torch.zeros(3, 3), "ever fired"),
    ],
)
def test_statistics_that_cannot_serve_are_named(gram, said):
    with pytest.raises(DataError, match=said) as caught:
        inverse_factor(gram, 0.01)
    assert caught.value.fix
    assert caught.value.received


def test_a_hessian_is_square():
    with pytest.raises(ShapeError, match="square"):
        damped_hessian(torch.ones(2, 3), 0.01)
