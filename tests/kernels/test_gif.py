"""`kernels/gif.cu` through the host code that CuPy gets, on fibers, against the definition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from darkit_nb.functional import gif as reference
from darkit_nb.functional.packed import pack_codes
from darkit_nb.ops import _gif_kernel, gif
from darkit_nb.ops._gif_blocked import GifLaw
from tests.kernels.cases import FEATURES, LAWS, mask, same, tokens
from tests.kernels.shim import ShimLauncher

few = settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("law", LAWS, ids=str)
@few
@given(rows=st.integers(1, 4), features=FEATURES, seed=st.integers(0, 999))
def test_counts_scales_and_zero_points_are_bit_equal(
    shim: ShimLauncher, law: GifLaw, rows: int, features: int, seed: int
) -> None:
    x, salient = tokens(rows, features, seed), mask(features, seed)
    counts, scale, zero, clamped = _gif_kernel.encode(x, law, salient, shim)
    expected = reference.gif_encode(x, salient=salient, **vars(law))
    same(counts, expected.counts)
    same(scale, expected.scale)
    same(zero, expected.zero_point)
    assert clamped is not None
    _, _, _, flags = gif.encode_rows(x, salient=salient, backend="reference", **vars(law))
    same(clamped, pack_codes(torch.zeros(x.shape, dtype=torch.uint8) if flags is None else flags.to(torch.uint8), 1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@few
@given(rows=st.integers(1, 3), features=FEATURES, seed=st.integers(0, 999))
def test_half_precision_input(shim: ShimLauncher, dtype: torch.dtype, rows: int, features: int, seed: int) -> None:
    x, salient, law = tokens(rows, features, seed).to(dtype), mask(features, seed), GifLaw(16, 2)
    expected = reference.gif_encode(x, salient=salient, **vars(law))
    same(_gif_kernel.encode(x, law, salient, shim)[0], expected.counts)
    values = _gif_kernel.QuantiseKernel.apply(x, law, salient, False, shim)
    assert values.dtype == dtype
    same(values, reference.gif_quantise(x, salient=salient, **vars(law)))


@pytest.mark.parametrize("follow_range", [False, True], ids=["clipped", "range"])
@pytest.mark.parametrize("law", LAWS, ids=str)
@few
@given(rows=st.integers(1, 3), features=FEATURES, seed=st.integers(0, 999))
def test_gradients_follow_autograd_of_the_definition(
    shim: ShimLauncher, law: GifLaw, follow_range: bool, rows: int, features: int, seed: int
) -> None:
    x, salient = tokens(rows, features, seed), mask(features, seed)
    # The gradient of a broken token means nothing, and that of a huge one overflows in the reference.
    x = torch.where(x.isfinite().all(-1, keepdim=True) & (x.abs().amax(-1, keepdim=True) < 1e30), x, 1.0)
    grad = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    _gif_kernel.QuantiseKernel.apply(ours, law, salient, follow_range, shim).backward(grad)
    gradient = "range" if follow_range else "clipped"
    reference.gif_quantise(theirs, salient=salient, gradient=gradient, **vars(law)).backward(grad)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-5 * features)


def test_a_launch_covers_more_rows_than_blocks(shim: ShimLauncher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gif_kernel, "MAX_BLOCKS", 2)
    x = torch.randn(40, 63)  # 16 teams a block
    counts = _gif_kernel.encode(x, GifLaw(16), None, shim)[0]
    assert shim.launches[-1].grid == (2, 1)
    same(counts, reference.gif_encode(x, num_levels=16).counts)


def test_strided_tokens_are_encoded_as_they_read(shim: ShimLauncher) -> None:
    x = torch.randn(63, 5).T
    same(_gif_kernel.encode(x, GifLaw(16), None, shim)[0], reference.gif_encode(x, num_levels=16).counts)
