"""A training step of a block is timed only where both rivals learn the same."""

from __future__ import annotations

import pytest

from benchmarks import refine_step


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(refine_step.SIZES, "small", (32, 48, 2, 1))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", refine_step.PRESETS)
def test_a_row_has_both_rivals(name: str):
    row = refine_step.measure("small", name, rounds=1)
    assert set(row["seconds"]) == set(refine_step.RIVALS)
    assert row["ratio"]["closed form"]["median"] > 0


@pytest.mark.usefixtures("small")
def test_rivals_that_learn_something_else_are_not_timed(monkeypatch: pytest.MonkeyPatch):
    case = refine_step.Case("small", "omniquant")
    honest = case.train

    def train(backend, **changes):
        losses, seconds = honest(backend, **changes)
        return [loss * (1.01 if backend == "auto" else 1) for loss in losses], seconds

    monkeypatch.setattr(case, "train", train)
    with pytest.raises(AssertionError, match="losses"):
        refine_step.check(case)
