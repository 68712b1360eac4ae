"""The integer product is the definition bit for bit: by the library's every way, by bytes, by floats, in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darkit_nb.errors import ShapeError
from darkit_nb.functional import spike_linear as reference
from darkit_nb.functional.gif import gif_encode
from darkit_nb.functional.weight import QuantisedWeight, WeightCode, weight_encode
from darkit_nb.ops import _product_native, _product_torch
from darkit_nb.ops._gif_blocked import GifLaw
from darkit_nb.ops.native_build import LEVELS
from darkit_nb.ops.spike_product import prepare_products, spike_product
from tests.ops.native import need_library, poisoned, use_level

LAWS = [
    {"num_levels": levels, "num_steps": steps, "coding": coding, "ranges": ranges, "signed": signed}
    for levels, steps, coding in (
        (16, 2, "rate"),
        (2, 4, "rate"),
        (16, 2, "radix"),
        (256, 1, "rate"),
        (256, 2, "rate"),
        (16, 2, "paper"),
    )
    for ranges in ("shared", "own")
    for signed in (False, True)
    if not (signed and coding == "paper")
]
WAYS = [(level, most) for level in LEVELS for most in ((0, 1, 2) if level == "avx512" else (0,))]
SHAPES = {
    "law": st.sampled_from(LAWS),
    "kind": st.sampled_from([2, 3, 4, 7, 8, "groups of 32", "groups of 64", "mixed"]),
    "rows": st.sampled_from([1, 2, 8, 9, 17, 40, 70]),
    "features": st.sampled_from([1, 7, 63, 129, 515]),
    "outputs": st.sampled_from([1, 5, 33, 64]),
    "share": st.sampled_from([None, 0.0, 0.2, 1.0]),
    "seed": st.integers(0, 2**16),
}


@contextmanager
def way(level: str, most: int) -> Iterator[None]:
    """The library with this instruction set, and at most this way of multiplying."""
    with use_level(level), pytest.MonkeyPatch.context() as patch:
        patch.setattr(_product_native, "FASTEST", most)
        yield


def weight_of(w: torch.Tensor, kind: int | str) -> WeightCode | QuantisedWeight:
    if isinstance(kind, int):
        return weight_encode(w, kind)
    if kind.startswith("groups"):
        return weight_encode(w, 4, group_size=int(kind.split()[-1]))
    order = torch.randperm(w.shape[1], generator=torch.Generator().manual_seed(0))
    parts = order.tensor_split(3)
    binary = WeightCode(
        torch.where(w[:, parts[2]] < 0, -1, 1).to(torch.int16),
        w.abs().amax(-1, keepdim=True),
        1,
        zero=torch.ones(len(w), 1, dtype=torch.int16),
        spacing=2,
    )
    codes = (weight_encode(w[:, parts[0]], 8), weight_encode(w[:, parts[1]], 2, group_size=5), binary)
    filled = [(columns, code) for columns, code in zip(parts, codes, strict=True) if columns.numel()]
    return QuantisedWeight(tuple(filled), (w.shape[0], w.shape[1]))


def case(law: dict, kind: int | str, rows: int, features: int, outputs: int, share: float | None, seed: int) -> tuple:
    random = torch.Generator().manual_seed(seed)
    x, w = torch.randn(rows, features, generator=random), torch.randn(outputs, features, generator=random)
    salient = None if share is None else torch.rand(features, generator=random) < share
    bias = torch.randn(outputs, generator=random) if seed % 2 else None
    return x, gif_encode(x, salient=salient, **law), weight_of(w, kind), bias


def assert_same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)


@pytest.mark.parametrize(("level", "most"), WAYS)
@settings(max_examples=40)
@given(**SHAPES)
def test_the_library_is_the_definition(level, most, law, kind, rows, features, outputs, share, seed) -> None:
    need_library()
    x, code, weight, bias = case(law, kind, rows, features, outputs, share, seed)
    with way(level, most), poisoned():
        assert_same(spike_product(code, weight, bias, backend="native"), reference.spike_product(code, weight, bias))
        products = prepare_products(weight, bias, GifLaw(**law), code.salient, backend="native")
        assert_same(products.linear(x, torch.float32), reference.spike_product(code, weight, bias))


@pytest.mark.parametrize("exact_bytes", [True, False], ids=["bytes", "floats"])
@settings(max_examples=60)
@given(**SHAPES)
def test_pytorch_alone_is_the_definition(exact_bytes, law, kind, rows, features, outputs, share, seed) -> None:
    _, code, weight, bias = case(law, kind, rows, features, outputs, share, seed)
    with pytest.MonkeyPatch.context() as patch:
        if not exact_bytes:
            patch.setattr(_product_torch, "int8_products_are_exact", lambda *_: False)
        got = spike_product(code, weight, bias, backend="blocked")
    assert_same(got, reference.spike_product(code, weight, bias))


@pytest.mark.parametrize(("level", "most"), WAYS)
def test_many_tokens_and_wide_layers_pass_in_bundles_and_panels(level: str, most: int) -> None:
    need_library()
    for law, kind in ((LAWS[0], 4), ({"num_levels": 16, "num_steps": 2, "ranges": "own"}, 4), (LAWS[0], "mixed")):
        x, code, weight, bias = case(law, kind, 300, 4097, 49, 0.1, 1)
        with way(level, most):
            products = prepare_products(weight, bias, GifLaw(**law), code.salient, backend="native")
            assert_same(products.linear(x, torch.float32), reference.spike_product(code, weight, bias))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_tokens_are_counted_in_float32_and_rounded_once(dtype: torch.dtype) -> None:
    need_library()
    x, _, weight, bias = case(LAWS[0], 4, 9, 129, 33, None, 1)
    x = x.to(dtype)
    code = gif_encode(x, num_levels=16)
    for backend in ("native", "blocked"):
        products = prepare_products(weight, bias, GifLaw(16), backend=backend)
        assert_same(products.linear(x, dtype), reference.spike_product(code, weight, bias).to(dtype))


def test_a_token_with_a_nan_stays_visible_and_alone() -> None:
    need_library()
    x, _, weight, _ = case(LAWS[0], 4, 20, 63, 5, None, 0)
    x[3, 7], x[11, 0] = float("nan"), float("inf")
    y = prepare_products(weight, None, GifLaw(16), backend="native").linear(x, torch.float32)
    assert y[[3, 11]].isnan().all()
    assert y[[0, 1, 2, 4, 10, 12, 19]].isfinite().all()


def test_rows_may_lie_apart() -> None:
    need_library()
    x, _, weight, _ = case(LAWS[0], 4, 20, 126, 5, None, 0)
    products = prepare_products(weight_encode(weight.dequantise()[:, ::2], 4), None, GifLaw(16), backend="native")
    for view in (x[:, :63], x[::2, :63], x[:, ::2]):
        assert_same(products.linear(view, torch.float32), products.linear(view.contiguous(), torch.float32))


@pytest.mark.parametrize("backend", ["native", "blocked"])
def test_the_largest_counts_and_weights_do_not_saturate(backend: str) -> None:
    need_library()
    assert _product_torch.int8_products_are_exact()
    code = gif_encode(torch.tensor([[0.0] + [1.0] * 2047] * 20), num_levels=256)
    for sign in (1, -1):
        weight = WeightCode(torch.full((3, 2048), sign * 255, dtype=torch.int16), torch.ones(3, 1), 8)
        for rows in (1, 20):
            part = gif_encode(code.dequantise()[:rows], num_levels=256)
            assert_same(spike_product(part, weight, backend=backend), reference.spike_product(part, weight))


@pytest.mark.parametrize("exact_bytes", [True, False])
def test_codes_beyond_a_byte_and_sums_beyond_32_bits_are_split(exact_bytes: bool) -> None:
    law = {"num_levels": 256, "num_steps": 2, "coding": "radix", "ranges": "shared", "signed": False}
    _, code, weight, _ = case(law, 8, 3, 515, 5, 1.0, 0)
    assert code.counts.dtype == torch.int32
    code.counts.fill_(code.cap)
    weight.codes.fill_(255)
    assert code.cap * 255 * 515 >= 2**31
    with pytest.MonkeyPatch.context() as patch:
        if not exact_bytes:
            patch.setattr(_product_torch, "int8_products_are_exact", lambda *_: False)
        assert_same(spike_product(code, weight), reference.spike_product(code, weight))


def test_packed_codes_take_as_many_bytes_as_bits_say() -> None:
    need_library()
    w = torch.randn(64, 1024, generator=torch.Generator().manual_seed(0))
    sizes = {bits: prepare_products(weight_encode(w, bits), None, GifLaw(16)).nbytes for bits in (2, 4, 8)}
    rest = 3 * 64 * 4  # zero point, sums and scale of each output
    assert sizes == {bits: 64 * 1024 * bits // 8 + rest for bits in (2, 4, 8)}


def test_batches_keep_their_axes_and_strangers_are_refused() -> None:
    code = gif_encode(torch.randn(2, 3, 63), num_levels=16)
    assert spike_product(code, weight_encode(torch.randn(5, 63), 4)).shape == (2, 3, 5)
    with pytest.raises(ShapeError):
        spike_product(code, weight_encode(torch.randn(5, 62), 4))


def test_a_kept_layout_is_never_that_of_another_product() -> None:
    x, w = torch.randn(5, 63), torch.randn(9, 63)
    weight, bias, salient = weight_encode(w, 4), torch.randn(9), torch.rand(63) < 0.2
    law = {"num_levels": 16, "num_steps": 2, "salient": salient}

    def check() -> None:
        code = gif_encode(x, **law)
        assert_same(spike_product(code, weight, bias), reference.spike_product(code, weight, bias))

    for change in (
        lambda: None,
        lambda: weight.codes.neg_(),
        lambda: weight.scale.mul_(2),
        lambda: bias.add_(1),
        lambda: salient.logical_not_(),
        lambda: law.update(ranges="own"),
        lambda: law.update(salient=None, num_steps=1),
    ):
        change()
        check()
