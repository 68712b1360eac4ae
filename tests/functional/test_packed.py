"""Packing codes: nothing is lost, the layout is the one stated, and what does not fit is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from darkit_nb.errors import ShapeError
from darkit_nb.functional.packed import pack_codes, packed_bytes, unpack_codes


@given(
    bits=st.integers(1, 8),
    lead=st.sampled_from([(), (1,), (5,), (2, 3)]),
    features=st.sampled_from([1, 2, 7, 8, 9, 63, 129, 4097]),
    seed=st.integers(0, 2**16),
)
def test_what_is_packed_comes_back_and_takes_the_bytes_it_needs(bits, lead, features, seed) -> None:
    random = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 2**bits, (*lead, features), generator=random, dtype=torch.int16)
    packed = pack_codes(codes, bits)
    assert packed.dtype == torch.uint8
    assert packed.shape == (*lead, packed_bytes(features, bits))
    assert packed.shape[-1] == (features * bits + 7) // 8
    assert torch.equal(unpack_codes(packed, bits, features).to(torch.int16), codes)


@given(bits=st.integers(1, 8), features=st.integers(1, 40), seed=st.integers(0, 2**16))
def test_a_row_is_one_stream_of_bits_with_the_low_bits_first(bits, features, seed) -> None:
    codes = torch.randint(0, 2**bits, (1, features), generator=torch.Generator().manual_seed(seed))
    stream = sum(int(code) << bits * place for place, code in enumerate(codes[0]))
    assert bytes(pack_codes(codes, bits)[0].tolist()) == stream.to_bytes(packed_bytes(features, bits), "little")


@pytest.mark.parametrize(
    ("codes", "bits"), [([[16]], 4), ([[-1]], 4), ([[2]], 1), ([[256]], 8), ([[0]], 0), ([[0]], 9)]
)
def test_codes_that_do_not_fit_are_refused(codes, bits) -> None:
    with pytest.raises(ShapeError):
        pack_codes(torch.tensor(codes), bits)


def test_bytes_of_another_width_are_refused() -> None:
    with pytest.raises(ShapeError):
        unpack_codes(torch.zeros(2, 4, dtype=torch.uint8), 4, 9)
