"""Sharing steps out among layers, against every choice there is."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darkit_nb.convert.allocate import RESOLUTION, knapsack, step_benefit
from darkit_nb.errors import ConfigError
from darkit_nb.functional.gif import gif_encode

LAYER = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 50).map(float)), min_size=1, max_size=4)


@settings(max_examples=200)
@given(options=st.lists(LAYER, min_size=1, max_size=5), budget=st.integers(0, 40))
def test_no_other_choice_within_the_budget_is_better(options, budget):
    affordable = [
        choice
        for choice in itertools.product(*[range(len(offered)) for offered in options])
        if sum(offered[i][0] for offered, i in zip(options, choice, strict=True)) <= budget
    ]
    if not affordable:
        with pytest.raises(ConfigError, match="budget"):
            knapsack(options, budget)
        return
    found = knapsack(options, budget)
    assert sum(offered[i][0] for offered, i in zip(options, found, strict=True)) <= budget

    def worth(choice) -> float:
        return sum(offered[i][1] for offered, i in zip(options, choice, strict=True))

    assert worth(found) == pytest.approx(max(map(worth, affordable)))


def test_costs_too_fine_for_the_table_are_rounded_but_never_exceed_the_budget():
    torch.manual_seed(0)
    options = [
        [(0, 0.0), *[(int(cost), float(cost**0.5)) for cost in torch.randint(1, 10**9, (4,)).sort().values]]
        for _ in range(30)
    ]
    budget = 7 * 10**9 + 1
    found = knapsack(options, budget)
    spent = sum(offered[i][0] for offered, i in zip(options, found, strict=True))
    assert spent <= budget
    assert spent > budget * (1 - 31 / RESOLUTION) - max(cost for offered in options for cost, _ in offered)


def test_the_benefit_is_the_error_that_more_steps_take_away():
    torch.manual_seed(1)
    x, weight = torch.randn(20000, 24), torch.randn(8, 24)
    salient = torch.arange(24) < 12

    def error(num_steps: int) -> torch.Tensor:
        code = gif_encode(x, num_levels=16, num_steps=num_steps, salient=salient, coding="radix", ranges="own")
        missed = code.dequantise() - x
        return missed.square().mean(0) * weight.square().sum(0)

    code = gif_encode(x, num_levels=16, num_steps=1, salient=salient, ranges="own")
    step = code.per_feature(code.scale).expand_as(x).square().mean(0).sqrt()
    predicted = step_benefit(weight, step, 4)
    torch.testing.assert_close((error(1) - error(2))[salient], predicted[salient], rtol=0.1, atol=0)
