"""The share of a range that is kept is the one whose spikes miss the features least."""

from __future__ import annotations

import torch
from torch import Tensor

from darkit_nb.convert.narrowing import KEPT_SHARES, best_share
from darkit_nb.functional.gif import gif_quantise
from darkit_nb.nn.rotation import OnlineRotation, RangeCut


def missed(rotation: OnlineRotation, x: Tensor, levels: int) -> list[float]:
    return [float((coded(rotation.cut(x, share), levels) - x).square().sum()) for share in KEPT_SHARES]


def coded(x: Tensor, levels: int) -> Tensor:
    return gif_quantise(x, num_levels=levels, num_steps=1)


def test_few_values_over_many_features_are_cut_and_many_values_are_not():
    rotation = OnlineRotation([16, 1008], seed=1)
    x = torch.randn(64, 1024, generator=torch.Generator().manual_seed(0))
    shares = {}
    for levels in (16, 256):
        errors = missed(rotation, x, levels)
        share = best_share(rotation, iter([x]), lambda part, levels=levels: coded(part, levels), 64)
        assert errors[KEPT_SHARES.index(share)] == min(errors)
        shares[levels] = share
    assert 0.5 < shares[16] < 0.95
    assert shares[256] == 1.0
    narrow = best_share(rotation, iter([x]), lambda part: coded(part, 4), 64)
    assert narrow < shares[16]


def test_it_looks_at_no_more_batches_than_asked():
    rotation = OnlineRotation([8, 24], seed=1)
    looked: list[int] = []

    def batches():
        for index in range(5):
            looked.append(index)
            yield torch.randn(10, 32, generator=torch.Generator().manual_seed(index))

    best_share(rotation, batches(), lambda part: coded(part, 16), 20)
    assert looked == [0, 1]


def test_what_is_cut_without_mixing_is_searched_the_same_way():
    x = torch.randn(64, 512, generator=torch.Generator().manual_seed(3))
    cut = RangeCut(512, 8)
    share = best_share(cut, iter([x]), lambda part: coded(part, 16), 64)
    errors = [float((coded(cut.cut(x, kept), 16) - x).square().sum()) for kept in KEPT_SHARES]
    assert errors[KEPT_SHARES.index(share)] == min(errors)
    assert 0.5 < share < 1
