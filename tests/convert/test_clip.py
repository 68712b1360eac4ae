"""The search for the range of a weight."""

from __future__ import annotations

import torch
from torch import Tensor

from darkit_nb.convert.clip import CLIP_SHARES, search_uniform
from darkit_nb.convert.grid import WeightGrid, feature_groups, uniform_grid
from darkit_nb.functional.weight import weight_encode
from darkit_nb.functional.weight_range import coding_error


def grouped_error(weight: Tensor, grid: WeightGrid, importance: Tensor) -> Tensor:
    return coding_error(weight, importance, grid.group, grid.scale, grid.low, grid.high)


def test_every_output_and_group_gets_the_share_with_the_least_weighted_error():
    torch.manual_seed(0)
    weight, importance = torch.randn(7, 20).pow(3), torch.rand(20)
    group = feature_groups(20, 8)
    found = search_uniform(weight, 3, group, importance)
    errors = torch.stack([grouped_error(weight, uniform_grid(weight, 3, group, s), importance) for s in CLIP_SHARES])
    torch.testing.assert_close(grouped_error(weight, found, importance), errors.amin(0))
    chosen = errors.argmin(0)
    assert chosen.unique().numel() > 3
    for share in chosen.unique():
        alone = uniform_grid(weight, 3, group, CLIP_SHARES[share])
        assert torch.equal(found.scale[chosen == share], alone.scale[chosen == share])


def test_the_uncut_grid_is_the_quantiser_of_the_layer():
    torch.manual_seed(1)
    weight = torch.randn(9, 30)
    for group_size in (None, 8):
        grid = uniform_grid(weight, 4, feature_groups(30, group_size))
        wanted = weight_encode(weight, 4, group_size=group_size)
        code = grid.code(grid.codes(weight), 4)
        assert torch.equal(code.dequantise(), wanted.dequantise())
        assert torch.equal(code.unsigned(), wanted.unsigned())
        assert code.group_size == group_size


def test_an_outlier_that_does_not_matter_is_cut_off():
    torch.manual_seed(2)
    weight = torch.randn(1, 40)
    weight[0, 3] = 60.0
    importance = torch.ones(40)
    whole = search_uniform(weight, 4, feature_groups(40, None), importance)
    importance[3] = 0.0
    cut = search_uniform(weight, 4, feature_groups(40, None), importance)
    assert float(cut.scale) < 0.5 * float(whole.scale)


def test_an_output_of_zeros_keeps_its_zeros():
    weight = torch.zeros(2, 6)
    grid = search_uniform(weight, 4, feature_groups(6, None), torch.ones(6))
    assert torch.equal(grid.value(grid.codes(weight)), weight)
