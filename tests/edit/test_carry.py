from __future__ import annotations

import weakref
from collections import OrderedDict, namedtuple
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from darkit_nb.edit.carry import alike, carry_over

Pair = namedtuple("Pair", "a b")
KEPT = nn.Parameter(torch.ones(1))


def scaled(amount: float):
    return lambda x: amount * x


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1),
        ([1, {"a": torch.ones(2)}], [1, {"a": torch.ones(2)}]),
        (nn.Parameter(torch.zeros(2)), nn.Parameter(torch.ones(2))),  # values of weights are training's
        (nn.Linear(2, 3), nn.Linear(2, 3)),
        (nn.LSTM(2, 3), nn.LSTM(2, 3)),
        (scaled(2.0), scaled(2.0)),
        (partial(F.gelu, approximate="tanh"), partial(F.gelu, approximate="tanh")),
        (nn.ReLU().forward, nn.ReLU().forward),
        (weakref.ref(KEPT), weakref.ref(KEPT)),
        (F.relu, F.relu),
        (Pair(1, 2), Pair(1, 2)),
    ],
)
def test_two_runs_of_one_constructor_are_alike(one: object, other: object):
    assert alike(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        (1, True),
        (torch.ones(2), torch.zeros(2)),
        (torch.ones(2), torch.ones(2).double()),
        (nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))),
        (nn.Linear(2, 3), nn.Linear(2, 3, bias=False)),
        (nn.Dropout(0.1), nn.Dropout(0.5)),
        (nn.ReLU(), nn.GELU()),
        (nn.Sequential(nn.ReLU()), nn.Sequential(nn.ReLU(), nn.ReLU())),
        (scaled(2.0), scaled(3.0)),
        (F.relu, F.gelu),
        (torch.relu, torch.tanh),
        (partial(F.gelu, approximate="tanh"), partial(F.gelu, approximate="none")),
        (nn.ReLU, nn.GELU),
        ([1], [1, 2]),
        (OrderedDict(a=1), OrderedDict(b=1)),
    ],
)
def test_an_edit_shows_as_a_difference(one: object, other: object):
    assert not alike(one, other)


def test_modules_that_refer_to_each_other_are_compared_to_an_end():
    def ring() -> nn.Module:
        one = nn.Linear(1, 1)
        object.__setattr__(one, "owner", [one])
        return one

    assert alike(ring(), ring())


def test_what_came_after_construction_stays_and_what_the_edit_wants_is_taken():
    old, reference, fresh = (nn.Sequential(OrderedDict(a=nn.Linear(2, 2), b=nn.Dropout(0.1))) for _ in range(3))
    later, weight = nn.ReLU(), old.a.weight
    old.add_module("later", later)
    old.register_buffer("seen", torch.ones(1), persistent=False)
    old.note = "mine"
    fresh.b = nn.Dropout(0.5)
    fresh.a = nn.Linear(2, 2, bias=False)
    fresh.new = nn.Linear(1, 1)
    kept = carry_over(vars(old), reference, fresh)
    assert fresh.later is later
    assert fresh.a.weight is weight
    assert fresh.a is not old.a
    assert (fresh.b.p, fresh.note) == (0.5, "mine")
    assert "seen" not in fresh.state_dict()
    assert kept["_modules"] == {"later"}
    assert kept["_buffers"] == {"seen"}
    assert "note" in kept["attributes"]
