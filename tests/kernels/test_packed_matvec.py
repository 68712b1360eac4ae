"""`kernels/packed_matvec.cu` through the host code that CuPy gets, on fibers, against the definition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from darkit_nb.functional import spike_linear as reference
from darkit_nb.functional.gif import gif_encode
from darkit_nb.functional.weight import WeightCode, weight_encode
from darkit_nb.ops._packed_kernel import fits, matvec, pack_weight
from tests.kernels.shim import ShimLauncher

few = settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])

LAWS = [
    {"num_levels": 16},
    {"num_levels": 16, "num_steps": 2},
    {"num_levels": 16, "num_steps": 2, "ranges": "own"},
    {"num_levels": 16, "num_steps": 2, "coding": "paper"},
    {"num_levels": 8, "num_steps": 2, "signed": True},
]


def binary(outputs: int, features: int, random: torch.Generator) -> WeightCode:
    """±1 codes of one bit each."""
    ones = torch.ones(outputs, 1, dtype=torch.int32)
    codes = torch.randint(0, 2, (outputs, features), generator=random, dtype=torch.int16) * 2 - 1
    return WeightCode(codes, torch.rand(outputs, 1, generator=random), 1, None, ones, 2)


def ternary(outputs: int, features: int, group_size: int | None, random: torch.Generator) -> WeightCode:
    groups = 1 if group_size is None else -(-features // group_size)
    codes = torch.randint(-1, 2, (outputs, features), generator=random, dtype=torch.int16)
    ones = torch.ones(outputs, groups, dtype=torch.int32)
    return WeightCode(codes, torch.rand(outputs, groups, generator=random), 2, group_size, ones)


@pytest.mark.parametrize("law", LAWS, ids=str)
@few
@given(
    rows=st.sampled_from([1, 5]),
    features=st.sampled_from([1, 33, 128, 384, 4097]),
    outputs=st.sampled_from([1, 9]),
    bits=st.sampled_from([1, 2, 4, 8]),
    grouped=st.booleans(),
    seed=st.integers(0, 99),
)
def test_products_are_bit_equal(
    shim: ShimLauncher, law: dict, rows: int, features: int, outputs: int, bits: int, grouped: bool, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    salient = None if law.get("num_steps", 1) == 1 else torch.rand(features, generator=random) < 0.2
    code = gif_encode(torch.randn(rows, features, generator=random), salient=salient, **law)
    size = 128 if grouped else None
    if bits == 1:
        weight = binary(outputs, features, random)
    elif bits == 2:
        weight = ternary(outputs, features, size, random)
    else:
        weight = weight_encode(torch.randn(outputs, features, generator=random), bits, group_size=size)
    bias = torch.randn(outputs, generator=random) if seed % 2 else None
    if not fits(weight, code.cap, signed=code.signed):
        assert code.signed
        return
    got = matvec(code, pack_weight(weight, salient), bias, shim)
    torch.testing.assert_close(got, reference.spike_product(code, weight, bias), rtol=0, atol=0)


def test_what_has_no_kernel_is_named() -> None:
    weight = weight_encode(torch.randn(3, 256), 4, group_size=48)
    assert not fits(weight, 15)  # 16 bytes would lie in two groups
    assert not fits(weight_encode(torch.randn(3, 256), 3), 15)
    assert not fits(weight_encode(torch.randn(3, 256), 4), 300)
    assert not fits(weight_encode(torch.randn(3, 256), 8), 100, signed=True)
    assert fits(weight_encode(torch.randn(3, 256), 4, group_size=64), 255)


def test_half_precision_outputs_round_the_float32_ones(shim: ShimLauncher) -> None:
    code, weight = gif_encode(torch.randn(1, 64), num_levels=16), weight_encode(torch.randn(5, 64), 4)
    expected = reference.spike_product(code, weight)
    for dtype in (torch.bfloat16, torch.float16):
        got = matvec(code, pack_weight(weight, None), None, shim, dtype)
        torch.testing.assert_close(got, expected.to(dtype), rtol=0, atol=0)
