"""Mixing by two matrices: the library is the definition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darkit_nb.functional import kronecker as reference
from darkit_nb.ops.kronecker import kronecker_mix
from darkit_nb.ops.native_build import LEVELS
from tests.ops.native import need_library, poisoned, use_level


@pytest.mark.parametrize("level", LEVELS)
@settings(max_examples=25)
@given(
    sizes=st.sampled_from([(1, 1), (1, 7), (3, 4), (12, 16), (24, 24), (7, 43)]),
    lead=st.sampled_from([(1,), (5,), (2, 9), (40,)]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    seed=st.integers(0, 2**16),
)
def test_the_library_is_the_definition(level, sizes, lead, dtype, seed) -> None:
    need_library()
    random = torch.Generator().manual_seed(seed)
    left, right = (torch.randn(size, size, generator=random) for size in sizes)
    x = torch.randn(*lead, sizes[0] * sizes[1], generator=random).to(dtype)
    if seed % 2:
        x = torch.cat([x, x], -1)[..., : x.shape[-1]]  # rows that do not follow one another
    with use_level(level), poisoned():
        found = kronecker_mix(x, left.t(), right)
    want = reference.kronecker_mix(x.double(), left.t().double(), right.double())
    reach = reference.kronecker_mix(x.double().abs(), left.t().double().abs(), right.double().abs())
    assert found.dtype == dtype
    assert float(((found.double() - want).abs() / (reach + 1e-30)).max()) <= 2 * torch.finfo(dtype).eps


def test_what_learns_has_a_gradient_and_double_stays_double() -> None:
    x, left, right = torch.randn(4, 12), torch.randn(3, 3).requires_grad_(), torch.randn(4, 4)
    kronecker_mix(x, left, right).sum().backward()
    assert left.grad is not None
    assert kronecker_mix(x.double(), left, right).dtype == torch.float64


@pytest.mark.parametrize("shape", [(1, 1, 5), (7, 3, 4), (40, 12, 16), (0, 2, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_those_of_the_definition(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    rows, p, q = shape
    torch.manual_seed(0)
    tensors = [torch.randn(size, dtype=dtype) for size in ((2, rows, p * q), (p, p), (q, q))]
    grad = torch.randn(rows, 2, p * q, dtype=dtype).transpose(0, 1)

    def results(function) -> list[torch.Tensor]:
        leaves = [tensor.clone().requires_grad_() for tensor in tensors]
        y = function(*leaves)
        return [y, *torch.autograd.grad(y, leaves, grad)]

    wanted = results(reference.kronecker_mix)
    with poisoned():
        found = results(kronecker_mix)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)
