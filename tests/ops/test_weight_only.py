"""Float tokens times packed weights: every instruction set agrees with the values of the weight."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darkit_nb.functional.weight import QuantisedWeight, weight_encode
from darkit_nb.ops.native_build import LEVELS
from darkit_nb.ops.weight_only import prepare_float_products
from tests.ops.native import need_library, poisoned, use_level, without_library


@pytest.mark.parametrize("level", LEVELS)
@settings(max_examples=25)
@given(
    kind=st.sampled_from([1, 2, 3, 4, 8, "groups", "mixed"]),
    rows=st.integers(1, 8),
    features=st.sampled_from([1, 7, 63, 129, 515]),
    outputs=st.sampled_from([1, 5, 33, 64]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    seed=st.integers(0, 2**16),
)
def test_it_is_the_product_with_the_values(level, kind, rows, features, outputs, dtype, seed) -> None:
    need_library()
    random = torch.Generator().manual_seed(seed)
    x, w = torch.randn(rows, features, generator=random).to(dtype), torch.randn(outputs, features, generator=random)
    bias = torch.randn(outputs, generator=random) if seed % 2 else None
    if kind == "mixed":
        order = torch.randperm(features, generator=random)
        halves = [part for part in order.tensor_split(2) if part.numel()]
        parts = tuple((part, weight_encode(w[:, part], bits)) for part, bits in zip(halves, (8, 2), strict=False))
        weight = QuantisedWeight(parts, (outputs, features))
    else:
        weight = weight_encode(w, 3, group_size=50) if kind == "groups" else weight_encode(w, kind)
    with use_level(level), poisoned():
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


def test_a_token_with_a_nan_leaves_the_others_alone() -> None:
    need_library()
    x = torch.randn(3, 70)
    x[1, 3] = float("nan")
    products = prepare_float_products(weight_encode(torch.randn(5, 70), 2), None)
    assert products is not None
    y = products.linear(x)
    assert y[1].isnan().all()
    assert y[[0, 2]].isfinite().all()


def test_without_the_library_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    without_library(monkeypatch)
    assert prepare_float_products(weight_encode(torch.randn(5, 7), 4), None) is None
