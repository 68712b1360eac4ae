"""Sharing spike steps out among layers: a knapsack over layers, one choice each.

Giving feature c of a layer Δb more bits lowers its squared output error by

    benefit_c = ‖Ŵ_c‖² · step_c² · (1 − 4^(−Δb)) / 12

(a uniform quantiser of step Δ errs by Δ²/12), and costs O more multiply-accumulates a token for every extra step. Each
layer offers a few shares of salient features; the choice with the largest sum of benefits within the budget is found
exactly by dynamic programming over the cost.

Source: the rate-distortion rule of high-resolution quantisation (Gersho and Gray 1991), as a multiple-choice knapsack.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from darkit_nb.errors import ConfigError

RESOLUTION = 4096
"""Largest number of cost units the table of the dynamic programme has; finer costs are rounded up to one."""

Option = tuple[int, float]
"""Cost in multiply-accumulates a token, and benefit."""


def step_benefit(weight: Tensor, step: Tensor, extra_bits: float) -> Tensor:
    """Squared output error that `extra_bits` more bits take away, of every feature `[D]`.

    Args:
        weight: Ŵ `[O, D]`, the coded weight; of several layers behind the same input, stacked.
        step: `[D]`, root mean square over tokens of the value of one code of the feature.
        extra_bits: Δb = log₂((cap_S + 1)/Q), 4 for radix with Q = 16 and S = 2.
    """
    return weight.square().sum(0).to(step.dtype) * step.square() * (1 - 4.0**-extra_bits) / 12


def knapsack(options: Sequence[Sequence[Option]], budget: int) -> list[int]:
    """One option a layer with the largest sum of benefits and a cost of at most `budget`.

    Costs are counted in their greatest common divisor where the budget holds at most `RESOLUTION` of it, which is
    exact; else in `budget / RESOLUTION`, rounded up, which never costs more than the budget.

    Returns:
        Index of the option of every layer. Of equal sums the one with the earlier options.

    Raises:
        ConfigError: the cheapest options together cost more than the budget.
    """
    cheapest = sum(min(cost for cost, _ in offered) for offered in options)
    if cheapest > budget:
        raise ConfigError(
            "The budget of spike steps is too small.",
            expected=f"at least {cheapest} multiply-accumulates a token",
            received=str(budget),
            fix="raise convert.steps_budget; 1.0 is one step for every feature",
        )
    unit = math.gcd(*(cost for offered in options for cost, _ in offered)) or 1
    unit = unit if budget // unit <= RESOLUTION else -(-budget // RESOLUTION)
    room = budget // unit
    # Rounding up could push the cheapest choice over the edge; costs above the cheapest are what is shared out.
    base = [min(cost for cost, _ in offered) for offered in options]
    room -= -(-cheapest // unit)
    best = [0.0] * (room + 1)
    chosen: list[list[int]] = []
    for offered, least in zip(options, base, strict=True):
        extras = [(-(-(cost - least) // unit), benefit) for cost, benefit in offered]
        after, picks = [], []
        for spent in range(room + 1):
            value, pick = max(
                (best[spent - extra] + benefit, -index)
                for index, (extra, benefit) in enumerate(extras)
                if extra <= spent
            )
            after.append(value)
            picks.append(-pick)
        best = after
        chosen.append(picks)
    answer, spent = [], room
    for offered, least, picks in zip(reversed(options), reversed(base), reversed(chosen), strict=True):
        index = picks[spent]
        answer.append(index)
        spent -= -(-(offered[index][0] - least) // unit)
    return answer[::-1]
