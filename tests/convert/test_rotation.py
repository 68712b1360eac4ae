"""Rotations are orthogonal, and the split one puts what is strongest first."""

from __future__ import annotations

import pytest
import torch

from darkit_nb.convert.rotation import (
    hadamard_rotation,
    per_head,
    rotate_inputs,
    rotate_outputs,
    salient_count,
    split_rotation,
)
from darkit_nb.errors import DataError


def test_a_split_rotation_gathers_the_principal_subspace():
    directions = torch.linalg.qr(torch.randn(24, 24, dtype=torch.float64))[0]
    energy = torch.tensor([100.0] * 3 + [1.0] * 21, dtype=torch.float64)
    covariance = directions * energy @ directions.T
    rotation = split_rotation(covariance, 3, seed=1)
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(24, dtype=torch.float64), atol=1e-12, rtol=0)
    turned = rotation.T @ covariance @ rotation
    # Nothing is left between the parts, and within a part the energy is spread evenly.
    assert turned[:3, 3:].abs().max() < 1e-10
    torch.testing.assert_close(turned.diagonal(), energy)


def test_it_does_not_depend_on_the_sign_of_the_solver():
    x = torch.randn(50, 8, dtype=torch.float64)
    torch.testing.assert_close(split_rotation(x.T @ x, 2, 0), split_rotation((x * -1).T @ (x * -1), 2, 0))


def test_a_gram_matrix_that_is_not_finite_is_refused():
    with pytest.raises(DataError, match="directions of a rotation"):
        split_rotation(torch.full((4, 4), torch.nan, dtype=torch.float64), 1, 0)


def test_seeds_give_different_rotations():
    assert not torch.equal(hadamard_rotation(12, 0), hadamard_rotation(12, 1))


@pytest.mark.parametrize(("width", "fraction", "count"), [(192, 0.125, 24), (24, 0.01, 1), (8, 1.0, 7)])
def test_there_is_always_a_salient_feature_and_always_another(width, fraction, count):
    assert salient_count(width, fraction) == count


def test_rotating_outputs_and_inputs_undoes_itself():
    rotations = torch.stack([hadamard_rotation(6, seed) for seed in range(2)])
    x = torch.randn(5, 10, dtype=torch.float64)
    first, bias = torch.randn(12, 10, dtype=torch.float64), torch.randn(12, dtype=torch.float64)
    second = torch.randn(7, 24, dtype=torch.float64)
    spread = [0, 0, 1, 1]  # four heads read two value heads

    def through(w, b, v):
        values = (x @ w.T + b).view(5, 2, 6)[:, spread].flatten(1)
        return values @ v.T

    turned = rotate_outputs(first, bias, rotations)
    assert turned[1] is not None
    found = through(*turned, rotate_inputs(second, per_head(rotations, 4)))
    torch.testing.assert_close(found, through(first, bias, second))
