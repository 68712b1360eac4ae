"""The Kronecker transform against the matrix it stands for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from darkit_nb.nn.kronecker import KroneckerTransform, kronecker_factors


@pytest.mark.parametrize(
    ("width", "factors"), [(1, (1, 1)), (7, (1, 7)), (192, (12, 16)), (512, (16, 32)), (11008, (86, 128))]
)
def test_factors_are_as_near_as_the_width_allows(width, factors):
    assert kronecker_factors(width) == factors


@pytest.mark.parametrize("width", [1, 7, 24, 36])
def test_it_is_the_kronecker_product_and_the_weight_undoes_it(width: int):
    torch.manual_seed(width)
    transform = KroneckerTransform(*kronecker_factors(width)).double()
    for parameter in transform.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    matrix = torch.kron(transform.left, transform.right)
    x, weight = torch.randn(2, 5, width, dtype=torch.float64), torch.randn(9, width, dtype=torch.float64)
    torch.testing.assert_close(transform(x), x @ matrix)
    torch.testing.assert_close(transform.undone_in(weight), weight @ torch.linalg.inv(matrix).T)
    torch.testing.assert_close(transform(x) @ transform.undone_in(weight).T, x @ weight.T)


def test_it_begins_orthogonal_and_spreads_one_feature_over_all():
    transform = KroneckerTransform(4, 8)
    spread = transform(torch.eye(32))
    torch.testing.assert_close(spread @ spread.T, torch.eye(32))
    assert spread.abs().min() > 0.1


def test_half_precision_moves_inputs_and_not_the_matrices():
    torch.manual_seed(0)
    transform = KroneckerTransform(5, 6)
    for parameter in transform.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    x, exact = torch.randn(3, 30).bfloat16(), [matrix.detach().clone() for matrix in transform.parameters()]
    expected = transform(x.float())
    half = nn.ModuleDict({"inside": transform}).bfloat16()["inside"]
    for matrix, before in zip(half.parameters(), exact, strict=True):
        assert torch.equal(matrix, before)
    assert torch.equal(half(x), expected.bfloat16())
    assert transform.double().left.dtype == torch.float64
