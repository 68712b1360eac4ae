"""GPTQ against OBQ's formula applied feature by feature in float64, and what it does with bad statistics."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from darkit_nb.convert.gptq import gptq_codes, towards_float_stream
from darkit_nb.convert.grid import WeightGrid, feature_groups, uniform_grid
from darkit_nb.convert.hessian import Hessian, activation_order, damped_hessian
from darkit_nb.errors import ShapeError


def correlated(tokens: int, features: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(features, features, generator=generator, dtype=torch.float64)
    return torch.randn(tokens, features, generator=generator, dtype=torch.float64) @ mixing


def naive(weight: Tensor, gram: Tensor, grid: WeightGrid, damping: float, order: Tensor) -> Tensor:
    """Optimal brain quantisation with a fixed order: the inverse of what is left is formed anew for every feature."""
    hessian, _ = damped_hessian(gram, damping)
    left, codes = weight.clone(), torch.zeros_like(weight)
    for place, j in enumerate(order.tolist()):
        rest = order[place:]
        inverse = torch.linalg.inv(hessian[rest][:, rest])
        scale, group = grid.scale[:, grid.group[j]], grid.group[j]
        codes[:, j] = torch.round(left[:, j] / scale).clamp(grid.low[:, group], grid.high[:, group])
        missed = (left[:, j] - codes[:, j] * scale) / inverse[0, 0]
        left[:, rest] -= missed.unsqueeze(1) * inverse[0]
    return codes


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("group_size", [None, 8])
@pytest.mark.parametrize("features", [1, 17, 150])
@pytest.mark.parametrize("act_order", [False, True])
def test_the_sweep_is_optimal_brain_quantisation_feature_by_feature(bits, group_size, features, act_order):
    x = correlated(3 * features, features)
    gram, weight = x.T @ x, torch.randn(9, features, dtype=torch.float64)
    grid = uniform_grid(weight, bits, feature_groups(features, group_size))
    order = activation_order(gram) if act_order else torch.arange(features)
    codes = gptq_codes(weight, Hessian(gram, act_order=act_order), grid)
    assert torch.equal(codes.double(), naive(weight, gram, grid, 0.01, order))


def test_the_error_of_the_outputs_falls_below_that_of_rounding():
    x = correlated(400, 64)
    gram, weight = x.T @ x, torch.randn(32, 64, dtype=torch.float64)
    grid = uniform_grid(weight, 3, feature_groups(64, None))
    rounded, swept = (
        float((x @ (weight - grid.value(codes)).T).square().sum())
        for codes in (grid.codes(weight), gptq_codes(weight, Hessian(gram), grid))
    )
    assert swept < 0.6 * rounded


def test_float32_statistics_code_nearly_every_weight_as_float64_does():
    x = correlated(2000, 96)
    gram, weight = x.T @ x, torch.randn(40, 96, dtype=torch.float64)
    grid = uniform_grid(weight, 4, feature_groups(96, None))
    wide = gptq_codes(weight, Hessian(gram), grid)
    narrow = gptq_codes(weight.float(), Hessian(gram.float()), grid)
    assert (wide == narrow).double().mean() > 0.99


def test_an_uncorrelated_input_leaves_nothing_to_compensate():
    weight = torch.randn(5, 12)
    grid = uniform_grid(weight, 4, feature_groups(12, None))
    assert torch.equal(gptq_codes(weight, Hessian(torch.eye(12)), grid).float(), grid.codes(weight))


def test_a_dead_feature_is_rounded_and_disturbs_no_other():
    x = correlated(200, 20)
    x[:, 7] = 0.0
    gram, weight = x.T @ x, torch.randn(6, 20, dtype=torch.float64)
    grid = uniform_grid(weight, 4, feature_groups(20, None))
    codes = gptq_codes(weight, Hessian(gram), grid)
    assert torch.equal(codes[:, 7].double(), grid.codes(weight)[:, 7])
    live = [j for j in range(20) if j != 7]
    alone = gptq_codes(
        weight[:, live], Hessian(gram[live][:, live]), WeightGrid(grid.scale, grid.low, grid.high, grid.group[live])
    )
    assert torch.equal(codes[:, live], alone)


def test_statistics_of_another_layer_are_refused():
    weight = torch.randn(3, 5)
    with pytest.raises(ShapeError, match="another layer"):
        gptq_codes(weight, Hessian(torch.eye(4)), uniform_grid(weight, 4, feature_groups(5, None)))


def test_the_move_towards_the_float_stream_is_the_regularised_least_squares_solution():
    x = correlated(300, 10)
    seen = x + 0.3 * torch.randn_like(x)
    gram, cross, weight = seen.T @ seen, x.T @ seen, torch.randn(4, 10, dtype=torch.float64)
    moved = towards_float_stream(weight, Hessian(gram), cross, damping=0.01)
    pull = 0.01 * gram.diagonal().mean()
    rows = torch.cat([seen, pull.sqrt() * torch.eye(10, dtype=torch.float64)])
    wanted = torch.cat([x @ weight.T, pull.sqrt() * weight.T])
    torch.testing.assert_close(moved.T, torch.linalg.lstsq(rows, wanted).solution)
    assert (seen @ moved.T - x @ weight.T).square().sum() < (seen @ weight.T - x @ weight.T).square().sum()
    torch.testing.assert_close(towards_float_stream(weight, Hessian(gram), gram, damping=0.01), weight)


def test_a_layer_that_writes_into_the_stream_makes_good_what_it_lacks():
    x = correlated(300, 10)
    seen = x + 0.3 * torch.randn_like(x)
    lacks = seen @ torch.randn(10, 4, dtype=torch.float64) + torch.randn(300, 4, dtype=torch.float64)
    gram, cross, weight = seen.T @ seen, x.T @ seen, torch.randn(4, 10, dtype=torch.float64)
    moved = towards_float_stream(weight, Hessian(gram), cross, missing=lacks.T @ seen, damping=0.01)
    pull = 0.01 * gram.diagonal().mean()
    rows = torch.cat([seen, pull.sqrt() * torch.eye(10, dtype=torch.float64)])
    wanted = torch.cat([x @ weight.T + lacks, pull.sqrt() * weight.T])
    torch.testing.assert_close(moved.T, torch.linalg.lstsq(rows, wanted).solution)
