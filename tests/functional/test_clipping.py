"""Learned clipping: at a share of one it is round to nearest; a narrower range clamps and has gradients of its own."""

from __future__ import annotations

import pytest
import torch

from darkit_nb.functional.clipping import clipped_linear, clipped_quantise, group_count
from darkit_nb.functional.weight import weight_quantise

WHOLE = 100.0
"""σ of it is 1 in float32."""


@pytest.mark.parametrize("group_size", [None, 5, 12])
def test_the_whole_range_is_round_to_nearest(group_size: int | None):
    torch.manual_seed(0)
    weight = torch.randn(6, 12)
    share = torch.full((6, group_count(12, group_size)), WHOLE)
    found = clipped_quantise(weight, share, share, bits=3, group_size=group_size)
    assert torch.equal(found, weight_quantise(weight, 3, group_size=group_size))


def test_a_clamped_weight_moves_with_the_end_of_its_range():
    weight = torch.tensor([[-1.0, -0.1, 0.2, 3.0]], dtype=torch.float64)
    upper, lower = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True), torch.full((1, 1), 50.0).double()
    values = clipped_quantise(weight, upper, lower, bits=4)
    assert float(values[0, 3].detach()) == pytest.approx(0.5 * 3, abs=0.1)
    (found,) = torch.autograd.grad(values[0, 3], upper)
    assert float(found) == pytest.approx(3 * 0.25)  # its end is hi σ(a), and σ'(0) = 1/4


def test_the_function_is_that_of_a_linear_layer_when_nothing_is_coded_away():
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 7, 6).double(), torch.randn(5, 6).double(), torch.randn(5).double()
    reads, writes = torch.rand(6).double() + 0.5, torch.rand(5).double() + 0.5
    left, right = torch.randn(2, 2).double(), torch.randn(3, 3).double()
    share = torch.full((5, 1), WHOLE).double()
    found = clipped_linear(x, weight, bias, share, share, bits=20, reads=reads, writes=writes, mixing=(left, right))
    matrix = (weight * reads / writes.unsqueeze(1)) @ torch.kron(left.T.contiguous(), right)
    torch.testing.assert_close(found, x @ matrix.T + bias, rtol=1e-4, atol=1e-4)
