"""The integer product on the CPU is the definition bit for bit, by bytes, by floats, and where it has to give up."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darkit_nb.errors import ShapeError
from darkit_nb.functional import spike_linear as reference
from darkit_nb.functional.gif import gif_encode
from darkit_nb.functional.weight import WeightCode, weight_encode
from darkit_nb.ops import _product_cpu
from darkit_nb.ops.spike_product import spike_product

LAWS = [
    {"num_levels": levels, "num_steps": steps, "coding": coding, "ranges": ranges, "signed": signed}
    for levels, steps, coding in ((16, 2, "rate"), (2, 4, "rate"), (16, 2, "radix"), (256, 2, "rate"), (16, 2, "paper"))
    for ranges in ("shared", "own")
    for signed in (False, True)
    if not (signed and coding == "paper")
]


def case(law: dict, bits: int, rows: int, features: int, outputs: int, share: float | None, seed: int) -> tuple:
    random = torch.Generator().manual_seed(seed)
    x, w = torch.randn(rows, features, generator=random), torch.randn(outputs, features, generator=random)
    salient = None if share is None else torch.rand(features, generator=random) < share
    bias = torch.randn(outputs, generator=random) if seed % 2 else None
    return gif_encode(x, salient=salient, **law), weight_encode(w, bits), bias


@pytest.mark.parametrize("exact_bytes", [True, False], ids=["bytes", "floats"])
@settings(max_examples=120)
@given(
    law=st.sampled_from(LAWS),
    bits=st.sampled_from([2, 4, 7, 8]),
    rows=st.sampled_from([1, 2, 17, 40]),
    features=st.sampled_from([1, 7, 63, 129, 515]),
    outputs=st.sampled_from([1, 5, 33, 64]),
    share=st.sampled_from([None, 0.0, 0.2, 1.0]),
    seed=st.integers(0, 2**16),
)
def test_it_is_the_definition(exact_bytes: bool, law, bits, rows, features, outputs, share, seed) -> None:
    code, weight, bias = case(law, bits, rows, features, outputs, share, seed)
    if exact_bytes:
        got = spike_product(code, weight, bias)
    else:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_product_cpu, "int8_products_are_exact", lambda: False)
            got = spike_product(code, weight, bias)
    torch.testing.assert_close(got, reference.spike_product(code, weight, bias), rtol=0, atol=0)


def test_the_usual_codes_take_the_fast_way() -> None:
    code, weight, bias = case(LAWS[0], 4, 3, 63, 5, 0.2, 1)
    assert _product_cpu.product(code, weight, bias) is not None


def test_the_largest_counts_and_weights_do_not_saturate() -> None:
    assert _product_cpu.int8_products_are_exact()
    code = gif_encode(torch.tensor([[0.0] + [1.0] * 2047]), num_levels=256)
    for sign in (1, -1):
        weight = WeightCode(torch.full((3, 2048), sign * 255, dtype=torch.int16), torch.ones(3, 1), 8)
        got = spike_product(code, weight)
        torch.testing.assert_close(got, reference.spike_product(code, weight), rtol=0, atol=0)


def test_what_no_fast_form_holds_exactly_runs_the_definition() -> None:
    law = {"num_levels": 256, "num_steps": 2, "coding": "radix", "ranges": "shared", "signed": False}
    code, weight, _ = case(law, 8, 3, 129, 5, 1.0, 0)
    assert _product_cpu.product(code, weight, None) is None
    torch.testing.assert_close(spike_product(code, weight), reference.spike_product(code, weight), rtol=0, atol=0)


def test_batches_keep_their_axes_and_strangers_are_refused() -> None:
    code = gif_encode(torch.randn(2, 3, 63), num_levels=16)
    assert spike_product(code, weight_encode(torch.randn(5, 63), 4)).shape == (2, 3, 5)
    with pytest.raises(ShapeError):
        spike_product(code, weight_encode(torch.randn(5, 62), 4))
