"""The library's choice of a grid for each output and group against the definition's."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from darkit_nb.functional import weight_range as law
from darkit_nb.ops import weight_range as ops
from darkit_nb.ops.native_build import LEVELS, probe_native
from tests.ops.native import need_library, poisoned, use_level, without_library

SHAPES = [(1, 1, 1), (5, 7, 1), (9, 40, 5), (30, 200, 2), (3, 33, 33)]
"""Outputs, features, groups."""


@pytest.fixture(autouse=True)
def _library() -> None:
    need_library()


def case(outputs: int, features: int, groups: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(features)
    weight = torch.randn(outputs, features + 1, generator=generator)[:, :features].pow(3)
    group = torch.randint(0, groups, (features,), generator=generator)
    reach = weight.abs().amax(1).view(1, -1, 1).expand(25, outputs, groups)
    scale = reach * torch.linspace(1.0, 0.3, 25).view(-1, 1, 1) / 7.5
    low = torch.randint(-8, -5, scale.shape, generator=generator).float()
    return [weight, torch.rand(features, generator=generator), group, scale, low, low + 15]


def broken(given: list[Tensor]) -> list[Tensor]:
    """The same with rows that hold no numbers, and grids that are tiny or huge."""
    weight, importance, group, scale, low, high = (part.clone() for part in given)
    for row, value in enumerate((math.nan, math.inf, -math.inf, 1e-40)):
        weight[row::7, -1] = value
    scale[1::5], scale[2::5] = 1e-40, 2.0**101
    return [weight, importance, group, scale, low, high]


def errors(given: list[Tensor]) -> Tensor:
    """Of every grid, in double, `[C, O, G]`."""
    weight, importance, group, *grids = given
    return torch.stack(
        [
            law.coding_error(weight.double(), importance.double(), group, *(part.double() for part in grid))
            for grid in zip(*grids, strict=True)
        ]
    )


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("shape", SHAPES)
def test_no_grid_errs_less_than_the_one_that_is_chosen(level: str, shape: tuple[int, int, int]):
    given = case(*shape)
    with use_level(level), poisoned():
        found = ops.best_range(*given)
    every = errors(given)
    torch.testing.assert_close(every.gather(0, found.unsqueeze(0))[0], every.amin(0), rtol=1e-5, atol=0)
    assert (found == law.best_range(*given)).double().mean() > 0.99
    assert found.unique().numel() > 3 or shape[0] < 9


@pytest.mark.parametrize("level", LEVELS)
def test_a_weight_that_is_no_number_takes_the_first_grid_and_leaves_other_groups_alone(level: str):
    given = broken(case(9, 40, 5))
    whole = [torch.where(given[0].isfinite(), given[0], 0.0), *given[1:]]
    with use_level(level), poisoned():
        found, alone = ops.best_range(*given), ops.best_range(*whole)
    spoilt = torch.zeros_like(found, dtype=torch.bool)
    spoilt[[0, 1, 2, 7, 8], given[2][-1]] = True
    assert not found[spoilt].any()
    assert torch.equal(found[~spoilt], alone[~spoilt])
    assert alone[~spoilt].any()


def test_instruction_sets_and_threads_choose_alike_where_grids_err_alike():
    weight, importance, group, *grids = case(40, 300, 2)
    nearly = [part[:1].repeat(9, 1, 1) for part in grids]
    nearly[0] *= 1 + 1e-7 * torch.arange(9).view(-1, 1, 1)
    found, threads = [], torch.get_num_threads()
    best = list(LEVELS).index(probe_native().level or "baseline")
    try:
        for level in list(LEVELS)[: best + 1]:
            for count in (1, 3):
                torch.set_num_threads(count)
                with use_level(level):
                    found.append(ops.best_range(weight, importance, group, *nearly))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(each, found[0]) for each in found)


def test_the_first_of_equals_is_chosen_and_a_group_without_features_has_one():
    weight, importance, _, *grids = case(4, 20, 2)
    same = [part[:1].repeat(3, 1, 1) for part in grids]
    for choose in (ops.best_range, law.best_range):
        assert not choose(weight, importance, torch.zeros(20, dtype=torch.int64), *same).any()


def test_without_the_library_rows_are_taken_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch):
    given = case(30, 200, 2)
    without_library(monkeypatch)
    monkeypatch.setattr(ops, "BLOCK", 1000)
    assert torch.equal(ops.best_range(*given), law.best_range(*given))
