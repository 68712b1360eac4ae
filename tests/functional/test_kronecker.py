"""Mixing by two small matrices is the product with their Kronecker product."""

from __future__ import annotations

import pytest
import torch

from darkit_nb.functional.kronecker import kronecker_mix


@pytest.mark.parametrize(("p", "q"), [(1, 5), (3, 4), (6, 6)])
def test_mixing_is_the_kronecker_product(p: int, q: int):
    torch.manual_seed(0)
    x, left, right = (torch.randn(*shape, dtype=torch.float64) for shape in ((2, 3, p * q), (p, p), (q, q)))
    torch.testing.assert_close(kronecker_mix(x, left, right), x @ torch.kron(left.T.contiguous(), right))
