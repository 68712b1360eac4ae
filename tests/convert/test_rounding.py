"""Scales and codes once more around GPTQ: no output gets worse, and what is found is what its formula says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from darkit_nb.convert.gptq import gptq_codes
from darkit_nb.convert.grid import WeightGrid, feature_groups, uniform_grid
from darkit_nb.convert.hessian import Hessian, damped_hessian
from darkit_nb.convert.rounding import SHARES, descend, swept_scales


def layer(features: int, *, outputs: int = 9, seed: int = 0) -> tuple[Tensor, Hessian]:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(features, features, generator=generator, dtype=torch.float64)
    x = torch.randn(3 * features, features, generator=generator, dtype=torch.float64) @ mixing
    weight = torch.randn(outputs, features, generator=generator, dtype=torch.float64)
    return weight, Hessian(x.T @ x / len(x), 0.05)


def missed(weight: Tensor, hessian: Hessian, grid: WeightGrid, codes: Tensor) -> Tensor:
    error = weight - grid.value(codes)
    return ((error @ damped_hessian(hessian.gram, hessian.damping)[0]) * error).sum(1)


@pytest.mark.parametrize(("features", "group_size"), [(5, None), (24, 8), (150, None)])
def test_every_output_keeps_the_best_scale_of_all_that_are_tried(features: int, group_size: int | None):
    weight, hessian = layer(features)
    grid = uniform_grid(weight, 3, feature_groups(features, group_size))
    best, codes = swept_scales(weight, hessian, grid)
    found = missed(weight, hessian, best, codes)
    assert torch.equal(codes, gptq_codes(weight, hessian, best))
    if group_size is None:  # one scale an output: every share can be tried by itself
        alone = [WeightGrid(grid.scale * share, grid.low, grid.high, grid.group) for share in (1.0, *SHARES)]
        errors = torch.stack([missed(weight, hessian, one, gptq_codes(weight, hessian, one)) for one in alone])
        torch.testing.assert_close(found, errors.amin(0))
    before = missed(weight, hessian, grid, gptq_codes(weight, hessian, grid))
    assert (found <= before * (1 + 1e-9)).all()
    assert found.sum() < 0.97 * before.sum()


def test_outputs_taken_a_few_at_a_time_are_coded_alike(monkeypatch: pytest.MonkeyPatch):
    weight, hessian = layer(24)
    grid = uniform_grid(weight, 3, feature_groups(24, 8))
    whole, codes = swept_scales(weight, hessian, grid)
    monkeypatch.setattr("darkit_nb.convert.rounding.MOST_TRIED", 2 * (len(SHARES) + 1) * 24)
    parted, again = swept_scales(weight, hessian, grid)
    assert torch.equal(codes, again)
    torch.testing.assert_close(whole.scale, parted.scale)


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize(("features", "group_size"), [(1, None), (24, 8), (150, None)])
def test_descent_sets_each_code_to_its_best_given_all_others(bits: int, features: int, group_size: int | None):
    weight, hessian = layer(features)
    grid = uniform_grid(weight, bits, feature_groups(features, group_size))
    start = gptq_codes(weight, hessian, grid)
    matrix = damped_hessian(hessian.gram, hessian.damping)[0]
    naive = start.double()
    for j in range(features):
        scale, low, high = (part[:, grid.group[j]] for part in (grid.scale, grid.low, grid.high))
        pull = (weight - grid.value(naive)) @ matrix[:, j] / (scale * matrix[j, j])
        naive[:, j] = torch.minimum(torch.maximum(torch.round(naive[:, j] + pull), low), high)
    found = descend(weight, hessian, grid, start)
    assert found.dtype == torch.int16
    assert torch.equal(found.double(), naive)
    assert (missed(weight, hessian, grid, found) <= missed(weight, hessian, grid, start) * (1 + 1e-9)).all()


def test_descent_ends_where_no_single_code_can_be_changed_for_the_better():
    weight, hessian = layer(12)
    grid = uniform_grid(weight, 3, feature_groups(12, None))
    codes = descend(weight, hessian, grid, grid.codes(weight).to(torch.int16), passes=8)
    least = missed(weight, hessian, grid, codes)
    assert least.sum() < 0.9 * missed(weight, hessian, grid, grid.codes(weight)).sum()
    for j in range(12):
        for step in (-1, 1):
            changed = codes.clone()
            changed[:, j] += step
            inside = (changed[:, j] >= grid.low[:, 0]) & (changed[:, j] <= grid.high[:, 0])
            assert (missed(weight, hessian, grid, changed) >= least * (1 - 1e-9))[inside].all()
