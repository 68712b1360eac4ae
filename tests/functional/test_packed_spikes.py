"""Packed counts are the counts, bit for bit, in as few bytes as stated."""

from __future__ import annotations

import math

import pytest
import torch

from darkit_nb.errors import ShapeError
from darkit_nb.functional.gif import gif_encode
from darkit_nb.functional.packed_spikes import PackedSpikes, pack_spikes
from darkit_nb.functional.spike_code import SpikeCode

B, H, L, K = 2, 3, 5, 13


def states(seed: int = 0) -> torch.Tensor:
    return torch.randn(B, H, L, K, generator=torch.Generator().manual_seed(seed))


def mask(share: float = 0.3) -> torch.Tensor:
    return torch.rand(H, 1, K, generator=torch.Generator().manual_seed(9)) < share


def same(one: SpikeCode, other: SpikeCode) -> None:
    assert one.counts.dtype == other.counts.dtype
    assert torch.equal(one.counts, other.counts)
    assert torch.equal(one.scale.nan_to_num(-1.0), other.scale.nan_to_num(-1.0))
    assert torch.equal(one.zero_point, other.zero_point)
    assert (one.cap, one.coding, one.ranges, one.signed) == (other.cap, other.coding, other.ranges, other.signed)


@pytest.mark.parametrize("ranges", ["shared", "own"])
@pytest.mark.parametrize(
    ("levels", "steps", "coding", "signed"),
    [
        (2, 1, "rate", False),
        (2, 4, "rate", False),
        (2, 1, "rate", True),
        (2, 3, "radix", True),
        (3, 2, "radix", False),
        (16, 1, "rate", False),
        (16, 2, "rate", False),
        (16, 2, "radix", False),
        (16, 2, "paper", False),
        (16, 2, "rate", True),
        (64, 2, "radix", False),
        (256, 1, "rate", False),
        (256, 2, "rate", True),
        (256, 2, "radix", False),
    ],
)
@pytest.mark.parametrize("salient", [None, 0.3, 1.0])
def test_what_was_packed_comes_back(levels: int, steps: int, coding, signed: bool, ranges, salient: float | None):
    chosen = None if salient is None else mask(salient)
    x = states()
    x[0, 1, 2] = 0
    x[1, 0, 3, 4] = math.nan
    x[1, 2, 0, 1] = math.inf
    code = gif_encode(
        x, num_levels=levels, num_steps=steps, coding=coding, ranges=ranges, signed=signed, salient=chosen
    )
    packed = pack_spikes(code)
    same(packed.unpack(), code)
    assert packed.shape == (B, H, L, K)
    if levels <= 16 and not (signed and levels == 16):
        assert packed.low.dtype == torch.uint8
        assert packed.low.shape[-1] == math.ceil(K * packed.layout.low_bits / 8)


def test_tokens_packed_later_follow_the_first_layout():
    settings = {"num_levels": 16, "num_steps": 2, "salient": mask()}
    whole = gif_encode(states(), **settings)
    first = pack_spikes(gif_encode(states()[:, :, :2], **settings))
    later = pack_spikes(gif_encode(states()[:, :, 2:], **settings), first.layout)
    joined = [torch.cat(pair, 2) for pair in zip(first.parts, later.parts, strict=True) if pair[0] is not None]
    same(PackedSpikes(*joined, first.layout).unpack(), whole)  # type: ignore[arg-type]
    same(pack_spikes(whole).tokens(2, 5).unpack(), gif_encode(states()[:, :, 2:], **settings))


def test_bytes_are_those_of_the_formula():
    """At head width 128: half a byte a count, one more a salient feature, a float32 scale and two zero points."""
    x = torch.randn(1, 2, 10, 128)
    chosen = torch.zeros(2, 1, 128, dtype=torch.bool)
    chosen[0, 0, :20] = True
    plain = pack_spikes(gif_encode(x, num_levels=16))
    assert plain.nbytes == 2 * 10 * (64 + 4 + 1)
    salient = pack_spikes(gif_encode(x, num_levels=16, num_steps=2, salient=chosen))
    assert salient.nbytes == 10 * (2 * (64 + 4 + 2) + 20)


def test_codes_that_cannot_share_a_layout_are_refused():
    each_its_own = torch.rand(B, H, L, K) < 0.5
    with pytest.raises(ShapeError, match="same for every token"):
        pack_spikes(gif_encode(states(), num_levels=16, num_steps=2, salient=each_its_own))
    layout = pack_spikes(gif_encode(states(), num_levels=16)).layout
    with pytest.raises(ShapeError, match="before"):
        pack_spikes(gif_encode(states()[..., :7], num_levels=16), layout)
