"""The Hadamard transform is orthogonal, flat and its own inverse at every width."""

from __future__ import annotations

import math

import pytest
import torch

from darkit_nb.errors import ShapeError
from darkit_nb.functional.rotation import (
    block_rotation,
    hadamard_transform,
    narrow_range,
    random_signs,
    rotation_matrix,
    transform_factors,
)

WIDTHS = (1, 2, 3, 8, 43, 48, 63, 192, 344, 512, 1376)


@pytest.mark.parametrize("width", WIDTHS)
def test_it_is_orthogonal_flat_and_its_own_inverse(width):
    matrix = rotation_matrix([width])
    assert math.prod(transform_factors(width)) == width
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(width, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(hadamard_transform(matrix), torch.eye(width, dtype=torch.float64), atol=1e-12, rtol=0)
    # Binary factors are perfectly flat; the one odd factor has no entry beyond √2 of that.
    assert matrix.abs().max() <= math.sqrt(2 / width) + 1e-12


def test_powers_of_two_give_the_walsh_hadamard_transform():
    two = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    matrix = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(8):
        matrix = torch.kron(matrix, two)
    torch.testing.assert_close(rotation_matrix([256]) * 16, matrix, atol=1e-12, rtol=0)


def test_blocks_do_not_mix_with_one_another():
    x = torch.randn(3, 5, 24, dtype=torch.float64)
    signs = random_signs(24, 3)
    y = block_rotation(x, [8, 16], signs)
    torch.testing.assert_close(y[..., :8], hadamard_transform(x[..., :8] * signs[:8]))
    torch.testing.assert_close(y, x @ rotation_matrix([8, 16], signs))


def test_half_precision_is_mixed_in_float32():
    x = torch.randn(4, 96).bfloat16()
    torch.testing.assert_close(hadamard_transform(x), hadamard_transform(x.float()).bfloat16(), atol=0, rtol=0)


def test_strided_input_is_read_right():
    x = torch.randn(6, 4, 96).transpose(0, 1)
    torch.testing.assert_close(hadamard_transform(x), hadamard_transform(x.contiguous()), atol=0, rtol=0)


def test_gradients_flow_back_through_the_same_transform():
    x = torch.randn(2, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(hadamard_transform, (x,))


def test_signs_differ_by_seed_only():
    assert torch.equal(random_signs(100, 1), random_signs(100, 1))
    assert not torch.equal(random_signs(100, 1), random_signs(100, 2))


def test_a_cut_range_keeps_zero_and_what_lies_inside():
    x = torch.tensor([[1.0, -4.0, 0.5, 2.0], [3.0, 1.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    expected = torch.tensor([[1.0, -2.0, 0.5, 1.0], [1.5, 1.0, 1.5, 0.0], [0.0, 0.0, 0.0, 0.0]])
    assert torch.equal(narrow_range(x, 0.5), expected)
    assert torch.equal(narrow_range(x, 1.0), x)


def test_blocks_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match="blocks of a rotation"):
        block_rotation(torch.randn(2, 10), [4, 4])
