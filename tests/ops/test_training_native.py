"""The library's forward in training against its definitions, bit for bit, and what happens where it cannot serve."""

from __future__ import annotations

import pytest
import torch

from darkit_nb.functional import spike_linear as reference
from darkit_nb.functional.gif import gif_encode
from darkit_nb.functional.weight import weight_encode
from darkit_nb.ops import _product_native
from darkit_nb.ops._gif_blocked import GifLaw
from darkit_nb.ops._training_native import decode, fits, forward
from darkit_nb.ops.gif import encode_rows
from darkit_nb.ops.native_build import LEVELS
from darkit_nb.ops.spike_linear import spike_linear
from darkit_nb.records.spike_spec import SpikeSpec
from tests.ops.native import need_library, poisoned, use_level

LAWS = [
    (GifLaw(16), False),
    (GifLaw(16, 2), True),
    (GifLaw(4, 2, "radix"), True),
    (GifLaw(2, 4, signed=True), True),
]


@pytest.fixture(autouse=True)
def _library() -> None:
    need_library()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("fastest", [0, 1, 2])
@pytest.mark.parametrize(("law", "salient"), LAWS)
def test_codes_counts_and_products_are_those_of_the_definitions(
    level: str, fastest: int, law: GifLaw, salient: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(_product_native, "FASTEST", fastest)
    torch.manual_seed(0)
    for rows, features, outputs, bits in ((1, 1, 1, 4), (5, 129, 33, 4), (70, 65, 40, 7), (37, 200, 16, 2)):
        x, w, bias = 2 * torch.randn(rows, features), torch.randn(outputs, features), torch.randn(outputs)
        x[0, 0] = torch.inf if rows == 37 else x[0, 0]
        mask = torch.rand(features) < 0.3 if salient else None
        with use_level(level), poisoned():
            found = forward(x, w, bias, bits, law, mask)
            assert found is not None
            code, weight = gif_encode(x, salient=mask, **vars(law)), weight_encode(w, bits)
            assert torch.equal(found.centred.long(), code.counts.long() - code.per_feature(code.zero_point).long())
            assert torch.equal(found.scale, code.scale)
            assert torch.equal(found.values, weight.dequantise())
            expected = reference.spike_product(code, weight, bias)
            torch.testing.assert_close(found.y, expected, rtol=0, atol=0, equal_nan=True)
            torch.testing.assert_close(
                decode(found.centred, found.scale, mask), code.dequantise(), rtol=0, atol=0, equal_nan=True
            )
            clamped = encode_rows(x, salient=mask, backend="reference", **vars(law))[3]
            assert (found.clamped is None) == (clamped is None)
            if clamped is not None and found.clamped is not None:
                assert torch.equal(found.clamped, clamped)


def test_a_weight_between_two_codes_at_both_ends_is_clamped_and_learns_nothing():
    # 7.5 and 7.5 steps: both ends round to 8, one code too many.
    w = torch.tensor([[7.5, -7.5, 1.0, 3.0], [1.0, 2.0, -1.0, 0.5]])
    found = forward(torch.randn(3, 4), w, None, 4, GifLaw(16), None)
    assert found is not None
    assert found.clamped_weight is not None
    assert found.clamped_weight.tolist() == [[True, False, False, False], [False] * 4]
    x, spec = torch.randn(3, 4), SpikeSpec(weight_bits=4, num_steps=1)
    ours, want = w.clone().requires_grad_(), w.clone().requires_grad_()
    spike_linear(x, ours, None, spec).sum().backward()
    reference.spike_linear(x, want, None, spec).sum().backward()
    torch.testing.assert_close(ours.grad, want.grad)
    assert ours.grad is not None
    assert ours.grad[0, 0] == 0


def test_a_weight_that_lies_the_other_way_round_is_read_where_it_lies():
    x, w = torch.randn(9, 20), torch.randn(20, 13)
    one, other = (forward(x, each, None, 4, GifLaw(16), None) for each in (w.t(), w.t().contiguous()))
    assert one is not None
    assert other is not None
    assert torch.equal(one.y, other.y)
    assert torch.equal(one.values, other.values)


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_a_weight_that_is_no_number_takes_the_definition(broken: float):
    x, w = torch.randn(3, 8), torch.randn(5, 8)
    w[2, 3] = broken
    assert forward(x, w, None, 4, GifLaw(16), None) is None
    ours, want = (each(x, w, None, SpikeSpec(num_steps=1)) for each in (spike_linear, reference.spike_linear))
    torch.testing.assert_close(ours, want, equal_nan=True, atol=1e-5, rtol=1e-5)


def test_what_bytes_do_not_hold_is_left_to_others():
    x, w, mask = torch.randn(2, 8), torch.randn(3, 8), torch.arange(8) < 2
    assert fits(x, w, 4, GifLaw(16), None)
    assert fits(x, w, 7, GifLaw(16, 2), mask)
    assert not fits(x, w, 8, GifLaw(16), None)
    assert not fits(x, w, 4, GifLaw(256), None)
    assert not fits(x, w, 4, GifLaw(16, 2, "rate", "own"), mask)
    assert not fits(x.bfloat16(), w, 4, GifLaw(16), None)
    assert not fits(x[:0], w, 4, GifLaw(16), None)
