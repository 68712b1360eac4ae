"""Float tokens times packed weights: every instruction set and way agrees with the values of the weight."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darkit_nb.functional.weight import QuantisedWeight, WeightCode, weight_encode
from darkit_nb.ops import _product_native
from darkit_nb.ops.native_build import LEVELS
from darkit_nb.ops.weight_only import prepare_float_products
from tests.ops.native import need_library, poisoned, use_level, without_library


def weight_of(kind: int | str, w: torch.Tensor, random: torch.Generator) -> QuantisedWeight | WeightCode:
    if kind not in ("mixed", "sorted"):
        return weight_encode(w, 3, group_size=50) if kind == "groups" else weight_encode(w, int(kind))
    halves = [part for part in torch.randperm(w.shape[1], generator=random).tensor_split(2) if part.numel()]
    halves = [part.sort().values for part in halves] if kind == "sorted" else halves
    parts = tuple((part, weight_encode(w[:, part], bits)) for part, bits in zip(halves, (8, 2), strict=False))
    return QuantisedWeight(parts, (w.shape[0], w.shape[1]))


@pytest.mark.parametrize("level", LEVELS)
@settings(max_examples=40)
@given(
    kind=st.sampled_from([1, 2, 3, 4, 8, "groups", "mixed", "sorted"]),
    rows=st.sampled_from([1, 2, 5, 8, 9, 16, 17, 33, 70, 258]),
    fastest=st.sampled_from([0, 2]),
    features=st.sampled_from([1, 7, 63, 129, 515]),
    outputs=st.sampled_from([1, 5, 33, 64]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    seed=st.integers(0, 2**16),
)
def test_it_is_the_product_with_the_values(level, kind, rows, fastest, features, outputs, dtype, seed) -> None:
    need_library()
    random = torch.Generator().manual_seed(seed)
    x, w = torch.randn(rows, features, generator=random).to(dtype), torch.randn(outputs, features, generator=random)
    bias = torch.randn(outputs, generator=random) if seed % 2 else None
    weight = weight_of(kind, w, random)
    with use_level(level), poisoned(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(_product_native, "FASTEST", fastest)
        products = prepare_float_products(weight, bias)
        assert products is not None
        found = products.linear(x)
    values = weight.dequantise().double()
    want = x.double() @ values.T + (0 if bias is None else bias.double())
    # Sums are over unsigned codes, the zero point comes off at the end: they reach as far as a row's largest value.
    reach = x.double().abs().sum(-1, keepdim=True) * values.abs().amax(-1) + 1
    assert found.dtype == dtype
    error = (found.double() - want).abs() / reach
    assert float(error.max()) <= 4 * torch.finfo(dtype).eps


@pytest.mark.parametrize("payload", [0xFFFFFFFF, 0x7F800001])
@pytest.mark.parametrize("rows", [3, 40])
@pytest.mark.parametrize("fastest", [0, 2])
def test_a_token_that_is_no_number_leaves_the_others_alone(monkeypatch, rows: int, fastest: int, payload: int) -> None:
    need_library()
    monkeypatch.setattr(_product_native, "FASTEST", fastest)
    x, w = torch.randn(rows, 70), torch.randn(5, 70)
    x[1, 3], x[2, 5] = torch.tensor(payload, dtype=torch.uint32).view(torch.float32), float("inf")
    weight = weight_encode(w, 8)
    products = prepare_float_products(weight, None)
    assert products is not None
    y = products.linear(x)
    assert y[1].isnan().all()
    if rows > 3:  # met as they are stored, codes count from their zero point: there infinity comes to inf - inf
        assert torch.equal(y[2], x[2] @ weight.dequantise().T)
    others = [row for row in range(rows) if row not in (1, 2)]
    assert y[others].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rows", [9, 64])
def test_tiles_lose_nothing_of_a_token(rows: int, dtype: torch.dtype) -> None:
    need_library()
    x = torch.randn(rows, 64, generator=torch.Generator().manual_seed(0))
    if dtype == torch.float32:
        x *= 1e30
        x[0, :4] = torch.tensor([3.4028234e38, -1.1754944e-38, 1 + 2**-23, -(1 - 2**-24)])
    x = x.to(dtype)
    code = WeightCode(torch.eye(64, dtype=torch.int16), torch.ones(64, 1), 1)
    products = prepare_float_products(code, None)
    assert products is not None
    assert torch.equal(products.linear(x), x)


def test_tiles_multiply_where_the_processor_has_them() -> None:
    need_library()
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    if "amx_bf16" not in flags:
        pytest.skip("this processor has no tiles for floats")
    # Pairs of tokens that nearly cancel: values rounded to the dtype of tokens, the other way, would be far off.
    random = torch.Generator().manual_seed(0)
    half = torch.randn(40, 64, generator=random).bfloat16()
    codes = torch.randint(30, 120, (33, 64), generator=random, dtype=torch.int16)
    code = WeightCode(torch.cat([codes, codes + 1], -1), torch.full((33, 1), 1.003), 8)
    products = prepare_float_products(code, None)
    assert products is not None
    found = products.linear(torch.cat([half, -half], -1))
    assert found.equal((-1.003 * half.float().sum(-1, keepdim=True)).bfloat16().expand(-1, 33))


@pytest.mark.parametrize("kind", [4, "mixed"])
def test_values_of_a_few_outputs_at_a_time_are_those_of_all(monkeypatch: pytest.MonkeyPatch, kind: int | str) -> None:
    need_library()
    monkeypatch.setattr(_product_native, "FASTEST", 0)
    random = torch.Generator().manual_seed(0)
    x, w = torch.randn(12, 129, generator=random), torch.randn(70, 129, generator=random)
    products = prepare_float_products(weight_of(kind, w, random), torch.randn(70, generator=random))
    assert products is not None
    expected = products.linear(x)
    monkeypatch.setattr(_product_native, "VALUES", 2 * 129 * 16)  # two blocks of outputs
    with poisoned():
        torch.testing.assert_close(products.linear(x), expected, rtol=1e-6, atol=1e-5)


def test_without_the_library_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    without_library(monkeypatch)
    assert prepare_float_products(weight_encode(torch.randn(5, 7), 4), None) is None
