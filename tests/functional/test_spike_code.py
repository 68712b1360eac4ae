"""`SpikeCode`: everything read from it follows from its planes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darkit_nb.functional.gif import gif_encode
from darkit_nb.functional.spike_code import SpikeCode, count_dtype, popcount
from darkit_nb.records.spike_spec import SpikeSpec, code_cap


@st.composite
def codes(draw) -> SpikeCode:
    """Real codes of random tokens, in every coding and shape."""
    levels, steps = draw(st.sampled_from([2, 3, 4, 16, 256])), draw(st.integers(1, 4))
    coding = draw(st.sampled_from(["rate", "radix", "paper"]))
    if code_cap(levels, steps, coding) > 2**20:
        steps = 2
    torch.manual_seed(draw(st.integers(0, 2**16)))
    shape = draw(st.sampled_from([(1,), (5, 17), (2, 3, 63), (2, 4, 3, 8)]))
    share = draw(st.sampled_from([None, 0.0, 0.4, 1.0]))
    salient = None if share is None else torch.rand(shape[-1]) < share
    signed = draw(st.booleans())
    ranges = draw(st.sampled_from(["shared", "own"]))
    return gif_encode(
        torch.randn(shape),
        num_levels=levels,
        num_steps=steps,
        salient=salient,
        coding=coding,
        ranges=ranges,
        signed=signed,
    )


@settings(deadline=None, max_examples=120)
@given(code=codes())
def test_weighted_planes_sum_to_the_counts(code: SpikeCode):
    planes = code.planes().to(torch.int64)
    weights = torch.tensor(code.plane_weights()).view(-1, *[1] * code.counts.dim())
    carried = (weights * planes).sum(0)
    assert int((code.counts.to(torch.int64) - carried).abs().sum()) == code.lost_counts
    if code.coding != "paper":
        assert code.lost_counts == 0
    assert planes.abs().max() <= code.num_levels - 1
    assert (planes * code.counts.sign() >= 0).all()


@settings(deadline=None, max_examples=120)
@given(code=codes())
def test_events_steps_and_rates_are_those_of_the_planes(code: SpikeCode):
    planes = code.planes().to(torch.int64)
    assert torch.equal(code.active_steps().long(), (planes != 0).sum(0))
    assert torch.equal(code.bitwise_events().long(), sum(popcount(plane).long() for plane in planes))
    unary = planes.abs().sum(0)
    assert int(code.unary_events().sum()) - code.lost_counts == int(unary.sum())
    slots = torch.as_tensor(code.steps_per_feature).expand(code.counts.shape).sum()
    assert code.firing_rate() == pytest.approx(float((planes != 0).sum() / slots))
    assert code.silent_share() == pytest.approx(float((planes == 0).all(0).double().mean()))


@settings(deadline=None, max_examples=80)
@given(code=codes())
def test_a_feature_with_one_step_fires_in_one_step_only(code: SpikeCode):
    if code.salient is None:
        assert code.planes().shape[0] == 1
        return
    normal = ~code.salient.expand(code.counts.shape)
    planes = code.planes()
    silent = planes[:-1] if code.coding == "radix" else planes[1:]  # radix: the last step, whose weight is 1
    assert (silent[:, normal] == 0).all()


@pytest.mark.parametrize("base", [2, 3, 4, 16])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_radix_planes_are_the_digits(base: int, steps: int):
    counts = torch.arange(base**steps, dtype=torch.int32)
    code = SpikeCode(
        counts,
        torch.ones(2),
        torch.zeros(2, dtype=torch.int32),
        base,
        steps,
        "radix",
        salient=torch.ones_like(counts).bool(),
    )
    digits = [[(value // base**place) % base for place in reversed(range(steps))] for value in counts.tolist()]
    assert code.planes().T.tolist() == digits
    assert code.unary_events().tolist() == [sum(row) for row in digits]


def test_rate_planes_fire_full_spikes_first():
    counts = torch.tensor([0, 1, 15, 16, 29, 30], dtype=torch.uint8)
    code = SpikeCode(counts, torch.ones(2), torch.zeros(2, dtype=torch.int32), 16, 2, salient=torch.ones(6).bool())
    assert code.planes().tolist() == [[0, 1, 15, 15, 15, 15], [0, 0, 0, 1, 14, 15]]
    assert code.active_steps().tolist() == [0, 1, 1, 2, 2, 2]
    assert code.bitwise_events().tolist() == [0, 1, 4, 5, 7, 8]


def test_paper_codes_lose_what_the_steps_cannot_carry():
    counts = torch.arange(32, dtype=torch.uint8)
    code = SpikeCode(
        counts, torch.ones(2), torch.zeros(2, dtype=torch.int32), 16, 2, "paper", salient=torch.ones(32).bool()
    )
    assert code.cap == 31
    assert code.lost_counts == 1  # 31 where two spikes of at most 15 carry 30
    four = SpikeCode(
        torch.arange(64, dtype=torch.uint8), torch.ones(2), torch.zeros(2, dtype=torch.int32), 16, 4, "paper",
        salient=torch.ones(64).bool(),
    )  # fmt: skip
    assert four.lost_counts == 1 + 2 + 3


@pytest.mark.parametrize(("binary_steps", "merged"), [(2, 2), (4, 2), (8, 4), (16, 16), (64, 16)])
def test_spike_length_is_the_papers(binary_steps: int, merged: int):
    """T binary steps merged into T/L spikes of L levels take (T/L)·log₂L bits."""
    steps = binary_steps // merged
    code = gif_encode(
        torch.randn(4, 10), num_levels=merged, num_steps=steps, salient=torch.ones(10, dtype=torch.bool), coding="paper"
    )
    assert code.spike_length_bits == pytest.approx(binary_steps / merged * math.log2(merged))


@pytest.mark.parametrize(
    ("steps", "salient", "features", "length", "information"),
    [(2, 4, 40, 1.10 * 4, 4.095), (4, 2, 40, 1.15 * 4, 4.097)],
)
def test_the_papers_two_settings_have_the_published_lengths_and_bits(steps, salient, features, length, information):
    mask = torch.arange(features) < salient
    code = gif_encode(torch.randn(3, features), num_levels=16, num_steps=steps, salient=mask)
    assert code.spike_length_bits == pytest.approx(length, abs=1e-6)
    assert code.code_bits == pytest.approx(information, abs=1e-3)
    spec = SpikeSpec(num_steps=steps, salient_fraction=salient / features)
    assert code.spike_length_bits == pytest.approx(spec.mean_steps * 4)


def test_information_of_signed_codes_counts_both_signs():
    ternary = gif_encode(torch.randn(3, 8), num_levels=2, signed=True)
    assert ternary.code_bits == pytest.approx(math.log2(3))


@pytest.mark.parametrize(
    ("cap", "signed", "dtype"),
    [
        (255, False, torch.uint8),
        (256, False, torch.int16),
        (32767, False, torch.int16),
        (32768, False, torch.int32),
        (127, True, torch.int8),
        (128, True, torch.int16),
        (32768, True, torch.int32),
    ],
)
def test_counts_take_the_smallest_dtype_that_holds_them(cap: int, signed: bool, dtype: torch.dtype):
    assert count_dtype(cap, signed) == dtype
    assert torch.iinfo(dtype).max >= cap


def test_popcount_counts_set_bits():
    values = torch.cat([torch.arange(-70000, 70000, 7), torch.tensor([2**31 - 1])])
    assert popcount(values).tolist() == [abs(value).bit_count() for value in values.tolist()]


def test_codes_carry_no_gradient():
    x = torch.randn(2, 5, requires_grad=True)
    code = gif_encode(x, num_levels=16)
    assert not code.scale.requires_grad
    assert not code.dequantise().requires_grad
