"""Rounding along the outputs: codes are those of the definition, and what is felt of their errors is less."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from darkit_nb.convert import shaping
from darkit_nb.convert.gptq import gptq_codes
from darkit_nb.convert.grid import WeightGrid, feature_groups, uniform_grid
from darkit_nb.convert.hessian import Hessian, damped_hessian
from darkit_nb.convert.rounding import descend, swept_scales
from darkit_nb.convert.shaping import DAMPING, shaped_codes


def moments(width: int, *, seed: int, of: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=generator, dtype=torch.float64)
    x = torch.randn(of * width, width, generator=generator, dtype=torch.float64) @ mixing
    return x.T @ x / len(x)


def layer(outputs: int, features: int = 20) -> tuple[Tensor, Hessian, WeightGrid]:
    weight = torch.randn(outputs, features, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return weight, Hessian(moments(features, seed=1), 0.05), uniform_grid(weight, 3, feature_groups(features, None))


def rows_of(grid: WeightGrid, rows: slice) -> WeightGrid:
    return WeightGrid(grid.scale[rows], grid.low[rows], grid.high[rows], grid.group)


def by_inputs(hessian: Hessian, passes: int = 0) -> Callable[[Tensor, WeightGrid], tuple[WeightGrid, Tensor]]:
    def code(weight: Tensor, grid: WeightGrid) -> tuple[WeightGrid, Tensor]:
        codes = gptq_codes(weight, hessian, grid)
        return grid, descend(weight, hessian, grid, codes, passes) if passes else codes

    return code


def felt_error(weight: Tensor, hessian: Hessian, grid: WeightGrid, codes: Tensor, felt: Tensor) -> float:
    error = weight - grid.value(codes)
    return float(torch.trace(felt @ error @ damped_hessian(hessian.gram, hessian.damping)[0] @ error.T))


@pytest.mark.parametrize("passes", [0, 1])
@pytest.mark.parametrize(("outputs", "size"), [(7, 1), (7, 3), (12, 4)])
def test_every_output_aims_where_it_best_makes_good_what_those_before_it_missed(
    outputs: int, size: int, passes: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shaping, "BLOCKS", -(-outputs // size))
    weight, hessian, grid = layer(outputs)
    felt = moments(outputs, seed=2)
    damped = damped_hessian(felt, DAMPING)[0]
    expected, error = torch.zeros(weight.shape, dtype=torch.int16), torch.zeros_like(weight)
    for begin in range(0, outputs, size):
        done, rest, rows = slice(0, begin), slice(begin, None), slice(begin, begin + size)
        # Of all outputs still to come, the errors that cost least beside those that stand.
        wanted = -torch.linalg.solve(damped[rest, rest], damped[rest, done] @ error[done])[:size]
        aim, own = weight[rows] - wanted, rows_of(grid, rows)
        codes = gptq_codes(aim, hessian, own)
        expected[rows] = descend(aim, hessian, own, codes, passes) if passes else codes
        error[rows] = weight[rows] - own.value(expected[rows])
    found, codes = shaped_codes(weight, grid, [felt], by_inputs(hessian, passes))
    assert torch.equal(codes, expected)
    assert torch.equal(found.scale, grid.scale)


def test_what_is_felt_is_less_and_where_outputs_are_felt_apart_nothing_changes():
    weight, hessian, grid = layer(48)
    felt, plain = moments(48, seed=3, of=2), gptq_codes(weight, hessian, grid)
    code = by_inputs(hessian)
    _, shaped = shaped_codes(weight, grid, [felt], code)
    before = felt_error(weight, hessian, grid, plain, felt)
    assert felt_error(weight, hessian, grid, shaped, felt) < 0.8 * before
    for apart in (felt.diagonal().diag(), torch.zeros_like(felt)):
        assert torch.equal(shaped_codes(weight, grid, [apart], code)[1], plain)


def test_parts_of_the_outputs_are_shaped_by_themselves():
    weight, hessian, grid = layer(15)
    felt, code = [moments(9, seed=6), moments(6, seed=7)], by_inputs(hessian)
    _, whole = shaped_codes(weight, grid, felt, code)
    for rows, part in ((slice(0, 9), felt[0]), (slice(9, 15), felt[1])):
        assert torch.equal(whole[rows], shaped_codes(weight[rows], rows_of(grid, rows), [part], code)[1])


def test_scales_are_tried_for_what_is_left_of_each_block(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shaping, "BLOCKS", 3)
    weight, hessian, grid = layer(12)
    felt, seen = moments(12, seed=2), []

    def code(left: Tensor, own: WeightGrid) -> tuple[WeightGrid, Tensor]:
        seen.append(left.clone())
        return swept_scales(left, hessian, own)

    found, codes = shaped_codes(weight, grid, [felt], code)
    again = [swept_scales(left, hessian, rows_of(grid, slice(4 * at, 4 * at + 4))) for at, left in enumerate(seen)]
    assert torch.equal(found.scale, torch.cat([one.scale for one, _ in again]))
    assert torch.equal(codes, torch.cat([one for _, one in again]))
    assert torch.equal(seen[0], weight[:4])
    assert not torch.equal(found.scale, grid.scale)
