"""Low-bit weights: scales of groups, unsigned storage, columns of different kinds, and what they take."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from darkit_nb.errors import ShapeError
from darkit_nb.functional.packed import pack_codes, unpack_codes
from darkit_nb.functional.weight import (
    QuantisedWeight,
    WeightCode,
    weight_encode,
    weight_encode_with,
    weight_quantise,
)


@given(
    bits=st.integers(1, 8),
    group_size=st.sampled_from([None, 1, 4, 32, 100]),
    features=st.sampled_from([1, 5, 63, 129]),
    clip=st.sampled_from([1.0, 0.8]),
    seed=st.integers(0, 2**16),
)
def test_a_group_is_a_channel_of_its_own(bits, group_size, features, clip, seed) -> None:
    weight = torch.randn(6, features, generator=torch.Generator().manual_seed(seed))
    code = weight_encode(weight, bits, clip=clip, group_size=group_size)
    size = group_size or features
    alone = [weight_encode(part, bits, clip=clip) for part in weight.split(size, 1)]
    assert torch.equal(code.codes, torch.cat([part.codes for part in alone], 1))
    assert torch.equal(code.scale, torch.cat([part.scale for part in alone], 1))
    assert torch.equal(code.dequantise(), torch.cat([part.dequantise() for part in alone], 1))
    assert torch.equal(code.dequantise(), weight_quantise(weight, bits, clip=clip, group_size=group_size))


@given(bits=st.integers(1, 8), group_size=st.sampled_from([None, 7]), seed=st.integers(0, 2**16))
def test_stored_codes_are_unsigned_and_come_back(bits, group_size, seed) -> None:
    weight = torch.randn(5, 33, generator=torch.Generator().manual_seed(seed))
    weight[0], weight[1] = 0.0, weight[1].abs()
    code = weight_encode(weight, bits, group_size=group_size)
    assert code.zero is not None
    stored = unpack_codes(pack_codes(code.unsigned(), bits), bits, 33)
    assert torch.equal(stored.to(torch.int16) * code.spacing - code.spread(code.zero), code.codes)


def test_binary_weights_take_one_bit() -> None:
    weight = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))
    signs = torch.where(weight < 0, -1, 1).to(torch.int16)
    code = WeightCode(
        signs, weight.abs().mean(-1, keepdim=True), 1, zero=torch.ones(4, 1, dtype=torch.int16), spacing=2
    )
    assert torch.equal(code.unsigned(), (weight >= 0).to(torch.int16))
    assert torch.equal(code.dequantise(), signs * code.scale)
    assert code.largest == 2
    assert code.storage_bytes == 4 * 2 + 4 * 4 + 4


def test_weights_round_to_the_scales_they_are_given() -> None:
    weight = torch.tensor([[0.2, -0.9, 3.0], [1.0, 0.5, -0.5]])
    code = weight_encode_with(weight, torch.tensor([[0.5], [0.25]]), torch.tensor([[2.0], [4.0]]), 3)
    assert code.codes.tolist() == [[0, -2, 5], [3, 2, -2]]
    assert code.dequantise().tolist() == [[0.0, -1.0, 2.5], [0.75, 0.5, -0.5]]


def test_codes_without_a_zero_point_are_multiplied_but_not_stored() -> None:
    code = WeightCode(torch.ones(2, 3, dtype=torch.int16), torch.ones(2, 1), 4)
    with pytest.raises(ShapeError):
        code.unsigned()


def test_columns_of_different_bits_make_one_weight() -> None:
    weight = torch.randn(6, 10, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(10, generator=torch.Generator().manual_seed(1))
    wide, narrow = order[:3], order[3:]
    parts = ((wide, weight_encode(weight[:, wide], 8)), (narrow, weight_encode(weight[:, narrow], 2, group_size=4)))
    mixed = QuantisedWeight(parts, (6, 10))
    assert torch.equal(mixed.dequantise()[:, wide], weight_quantise(weight[:, wide], 8))
    assert torch.equal(mixed.dequantise()[:, narrow], weight_quantise(weight[:, narrow], 2, group_size=4))
    wide_bytes, narrow_bytes = 6 * (3 + 4 + 1), 6 * (2 + 2 * 4 + 2)
    assert mixed.storage_bits == 8 * (wide_bytes + narrow_bytes + 4 * 10) / 60


def test_one_part_of_all_columns_takes_no_places() -> None:
    weight = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
    mixed = QuantisedWeight(((None, weight_encode(weight, 4)),), (64, 256))
    assert torch.equal(mixed.dequantise(), weight_quantise(weight, 4))
    assert mixed.storage_bits == 4 + 5 * 8 / 256


@pytest.mark.parametrize("columns", [[0, 1], [0, 1, 1], [0, 1, 3]])
def test_parts_hold_every_column_once(columns) -> None:
    chosen = torch.tensor(columns)
    code = weight_encode(torch.ones(2, len(columns)), 4)
    with pytest.raises(ShapeError):
        QuantisedWeight(((chosen, code),), (2, 3))
