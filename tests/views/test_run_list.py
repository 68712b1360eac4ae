"""Runs as one table, and side by side."""

from __future__ import annotations

from typing import Any

import pytest

from darkit_nb.runs.comparison import SCORES, Comparison
from darkit_nb.runs.summary import RunSummary
from darkit_nb.views.comparison_view import best, comparison_rows, comparison_view
from darkit_nb.views.run_list import run_list_view, took


def summary(number: int, **fields: Any) -> RunSummary:
    run_id = f"20261122-0714{number:02}-try-{number:04x}"
    return RunSummary(**{"id": run_id, "name": "try", "path": f"runs/{run_id}", "state": "finished", **fields})


def test_the_newest_run_comes_first_and_older_ones_are_counted():
    view = run_list_view([summary(number) for number in range(60)], "runs", limit=50)
    assert view.title == "60 runs in runs"
    assert len(view.rows) == 50
    assert view.rows[0][0].endswith("003b")
    assert view.notes[0] == "10 older runs are not shown."


def test_a_row_says_what_is_known_and_a_dash_for_the_rest():
    known = summary(1, step=60, total_steps=200, loss=2.4949, bits_per_byte=3.4, firing_rate=0.94, energy_pj=12.7e6)
    assert run_list_view([known], "runs").rows[0][1:7] == ("finished", "60/200", "2.495", "3.400", "94.0 %", "12.7 µJ")
    assert run_list_view([summary(1)], "runs").rows[0][2:] == ("–",) * 8


def test_runs_that_failed_say_why_below():
    assert "the disk is full" in run_list_view([summary(1, state="failed", reason="the disk is full")], "runs").to_text(
        200
    )


def test_a_folder_without_runs_says_so():
    assert "There are no runs yet." in run_list_view([], "runs").to_text()


def test_the_time_a_run_took_grows_only_while_it_is_at_work():
    assert took(summary(1, started=10.0, ended=70.0), 100.0) == 60.0
    assert took(summary(1, started=10.0, state="running"), 100.0) == 90.0
    assert took(summary(1, started=10.0, state="lost"), 100.0) is None
    assert took(summary(1), 100.0) is None


def comparison(**scores: tuple[Any, ...]) -> Comparison:
    runs = ("20261122-071401-try-00aa", "20261122-071402-try-00bb")
    every = {name: scores.get(name, (None, None)) for name in SCORES}
    return Comparison(runs, {"train.learning_rate": (0.001, 0.003)}, every)


def test_the_best_of_each_score_is_marked():
    shown = comparison_rows(comparison(loss=(2.5, 2.25), tokens_per_s=(900.0, 800.0), firing_rate=(0.9, 0.8)))
    assert shown["names"] == ["try 00aa", "try 00bb"]
    assert shown["scores"] == [
        ["loss", ["2.500", "2.250"], [1]],
        ["firing rate", ["90.0 %", "80.0 %"], []],
        ["tokens/s", ["900", "800"], [0]],
    ]
    assert shown["settings"] == [["train.learning_rate", ["0.001", "0.003"], []]]
    assert "★ 2.250" in comparison_view(comparison(loss=(2.5, 2.25))).to_text(120)


@pytest.mark.parametrize(
    ("values", "better", "winners"),
    [
        ((3.0, 1.0, 1.0), -1, [1, 2]),
        ((3.0, None, 1.0), 1, [0]),
        ((None, 1.0), -1, []),
        ((2.0, 2.0), -1, []),
        ((float("nan"), 1.0, 2.0), -1, [1]),
        ((1.0, 2.0), 0, []),
    ],
)
def test_best(values: tuple[Any, ...], better: int, winners: list[int]):
    assert best(values, better) == winners
