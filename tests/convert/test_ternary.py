"""Spiking weights: the best scale against every scale, codes against every code, sums of spikes against codes."""

from __future__ import annotations

import itertools

import pytest
import torch

from darkit_nb.convert.clip import SCALE_SHARES, search_signed
from darkit_nb.convert.grid import signed_grid
from darkit_nb.convert.hessian import Hessian
from darkit_nb.convert.ternary import (
    code_bits,
    spike_weight,
    step_cap,
    weight_saliency,
)
from darkit_nb.functional.weight_range import coding_error


def stream(tokens: int, features: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(features, features, generator=generator, dtype=torch.float64)
    return torch.randn(tokens, features, generator=generator, dtype=torch.float64) @ mixing


@pytest.mark.parametrize("planes", [False, True])
def test_codes_stay_within_the_steps_of_their_feature(planes: bool):
    x = stream(300, 24)
    gram, weight = x.T @ x, torch.randn(10, 24, dtype=torch.float64)
    salient = torch.arange(24) % 3 == 0
    coded = spike_weight(weight, Hessian(gram), steps=3, fraction=1 / 3, planes=planes, salient=salient)
    held = {int(code.codes.abs().max()): columns for columns, code in coded.parts}
    cap = 13 if planes else 3
    assert max(held) <= cap
    assert [sorted(columns.tolist()) for columns, _ in coded.parts] == [
        [j for j in range(24) if j % 3],
        [j for j in range(24) if j % 3 == 0],
    ]
    assert coded.parts[0][1].codes.abs().max() == 1
    for (_, code), steps in zip(coded.parts, (1, 3), strict=True):
        assert code.bits == code_bits(step_cap(steps, planes))
        assert code.unsigned().min() >= 0
        assert code.unsigned().max() < 2**code.bits


@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_ternary_spikes_reach_every_code_and_none_beyond(steps: int, planes: bool):
    worth = [3**step if planes else 1 for step in range(steps)]
    sums = {
        sum(s * w for s, w in zip(spikes, worth, strict=True)) for spikes in itertools.product((-1, 0, 1), repeat=steps)
    }
    cap = step_cap(steps, planes)
    assert sums == set(range(-cap, cap + 1))


def test_uncorrelated_weights_get_the_codes_and_the_scale_no_other_choice_beats():
    torch.manual_seed(1)
    weight, importance = torch.randn(3, 5, dtype=torch.float64), torch.rand(5, dtype=torch.float64) + 0.1
    group, caps = torch.tensor([0, 0, 1, 1, 1]), torch.tensor([1, 2])
    grid = search_signed(weight, caps, group, importance)
    found = coding_error(weight, importance, group, grid.scale, grid.low, grid.high)
    for g, cap in enumerate(caps.tolist()):
        members = torch.nonzero(group == g)[:, 0]
        reach = weight[:, members].abs().amax(1) / cap
        for row in range(3):
            best = min(
                sum(
                    float(importance[j]) * (float(weight[row, j]) - float(reach[row]) * share * code) ** 2
                    for j, code in zip(members.tolist(), choice, strict=True)
                )
                for share in SCALE_SHARES
                for choice in itertools.product(range(-cap, cap + 1), repeat=len(members))
            )
            assert float(found[row, g]) == pytest.approx(best)


def test_with_a_diagonal_hessian_spiking_weights_are_the_searched_grid():
    torch.manual_seed(2)
    weight, gram = torch.randn(6, 8), torch.diag(torch.rand(8) + 0.5)
    salient = torch.tensor([True, False] * 4)
    coded = spike_weight(weight, Hessian(gram), steps=2, fraction=0.5, salient=salient)
    grid = search_signed(weight, torch.tensor([1, 2]), salient.long(), gram.diagonal())
    torch.testing.assert_close(coded.dequantise(), grid.value(grid.codes(weight)))


def test_the_score_is_what_dropping_the_feature_costs_after_the_others_compensate():
    x = stream(400, 6)
    gram, weight = x.T @ x / 400, torch.randn(1, 6, dtype=torch.float64)
    damped = gram + 1e-9 * gram.diagonal().mean() * torch.eye(6, dtype=torch.float64)
    hessian = Hessian(gram, 1e-9)
    torch.testing.assert_close(hessian.inverse_diagonal, torch.linalg.inv(damped).diagonal())
    score = weight_saliency(weight, hessian)
    for j in range(6):
        rest = [i for i in range(6) if i != j]
        left = torch.linalg.lstsq(x[:, rest], x @ weight.T).solution
        cost = (x @ weight.T - x[:, rest] @ left).square().mean()
        assert float(score[j]) == pytest.approx(float(cost), rel=1e-4)


def test_more_steps_where_it_matters_lose_less_than_anywhere_else():
    x = stream(600, 60, seed=3)
    gram, weight = x.T @ x / 600, torch.randn(40, 60, dtype=torch.float64)

    def error(**changes) -> float:
        missed = weight - spike_weight(weight, Hessian(gram), **changes).dequantise()
        return float(((missed @ gram) * missed).sum())

    ternary = error(steps=1, fraction=0.0)
    chosen = error(steps=2, fraction=0.4)
    elsewhere = error(steps=2, fraction=0.4, salient=weight_saliency(weight, Hessian(gram)).argsort().argsort() < 24)
    assert chosen < ternary
    assert chosen < elsewhere
    assert error(steps=2, fraction=0.4, planes=True) < chosen


def test_a_scale_as_large_as_the_largest_weight_is_among_those_tried():
    weight = torch.tensor([[2.0, -1.0, 0.5]])
    reached = signed_grid(torch.tensor([[2.0]]), torch.tensor([1]), torch.zeros(3, dtype=torch.long))
    best = search_signed(weight, torch.tensor([1]), torch.zeros(3, dtype=torch.long), torch.tensor([1.0, 0.0, 0.0]))
    assert torch.equal(best.scale, reached.scale)
