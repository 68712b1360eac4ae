"""The history of a run in columns is what `last_attempts` says, cheap to extend and harmless to read meanwhile."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkit_nb.runs.history import RunHistory
from darkit_nb.runs.metrics import last_attempts

VALUES = st.one_of(st.none(), st.floats(), st.integers(-5, 5), st.just("word"), st.booleans())
RECORDS = st.fixed_dictionaries(
    {"step": st.integers(-3, 12), "kind": st.sampled_from(["train", "evaluation"])},
    optional={"attempt": st.integers(0, 3), "loss": VALUES, "grad_norm": VALUES},
)
ODD = st.fixed_dictionaries({"step": st.one_of(st.none(), st.just("1"), st.integers(0, 3))})


def train(step: int, loss: float, attempt: int = 1) -> dict[str, Any]:
    return {"kind": "train", "step": step, "attempt": attempt, "loss": loss, "time": float(step)}


def number(value: Any) -> float:
    return float(value) if type(value) in (int, float) else math.nan


@given(st.lists(st.lists(st.one_of(RECORDS, ODD), max_size=12), max_size=5))
def test_it_holds_what_last_attempts_says(batches: list[list[dict[str, Any]]]) -> None:
    history = RunHistory()
    for batch in batches:
        history.extend(batch)
    everything = [record for batch in batches for record in batch]
    chosen = last_attempts(everything)
    for kind in ("train", "evaluation"):
        rows = [record for record in chosen if record["kind"] == kind]
        written = [record for record in everything if record.get("kind") == kind]
        assert history.latest(kind) == (written[-1] if written else None)
        for name in ("loss", "grad_norm"):
            steps, values = history.series(kind, name)
            if any(type(record.get(name)) in (int, float) for record in written):
                assert steps.tolist() == [record["step"] for record in rows]
                np.testing.assert_array_equal(values, [number(record.get(name)) for record in rows])
            else:
                assert len(steps) == len(values) == 0
    assert len(history) == len(chosen)


def test_a_resumed_run_shows_every_step_once() -> None:
    history = RunHistory()
    history.extend([train(step, 1.0) for step in range(1, 5)])
    history.extend([train(step, 1.0) for step in range(5, 8)])
    assert history.rewritten == 0
    history.extend([train(5, 2.0, attempt=2)])
    assert history.rewritten == 1
    steps, values = history.series("train", "loss")
    assert steps.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert values.tolist() == [1, 1, 1, 1, 2, 1, 1]
    history.extend([train(step, 2.0, attempt=2) for step in range(6, 10)])
    assert history.series("train", "loss")[1].tolist() == [1, 1, 1, 1, 2, 2, 2, 2, 2]
    assert history.attempts == [(1, 1), (5, 2)]
    history.extend([train(6, 3.0, attempt=1)])
    assert history.series("train", "loss")[1][5] == 2.0, "an older attempt never wins"


def test_a_measurement_that_a_resumed_run_did_not_repeat_is_gone_with_its_step() -> None:
    history = RunHistory()
    history.extend([{**train(1, 1.0), "grad_norm": 3.0}, {**train(2, 1.0), "grad_norm": 4.0}])
    history.extend([train(2, 2.0, attempt=2)])
    np.testing.assert_array_equal(history.series("train", "grad_norm")[1], [3.0, math.nan])


def spikes(step: int, rates: dict[str, float], attempt: int = 1) -> dict[str, Any]:
    layers = [{"name": name, "firing_rate": rate, "silent_share": 1 - rate} for name, rate in rates.items()]
    readings = [{"key": "float16", "total_pj": 100.0}, {"key": "unary", "total_pj": 100 * sum(rates.values())}]
    return {"kind": "spikes", "step": step, "attempt": attempt, "layers": layers, "energy": {"readings": readings}}


def test_layers_and_energy_have_columns_of_their_own() -> None:
    history = RunHistory()
    history.extend([spikes(1, {"a": 0.5, "b": 0.25})])
    history.extend([spikes(10, {"a": 0.5, "b": 0.125, "c": 1.0}), spikes(10, {"a": 0.75}, attempt=2)])
    steps, names, rates = history.layers("firing_rate")
    assert steps.tolist() == [1, 10]
    assert names == ("a", "b", "c")
    np.testing.assert_array_equal(rates, [[0.5, 0.25, math.nan], [0.75, math.nan, math.nan]])
    assert history.series("spikes", "energy_pj.unary")[1].tolist() == [75.0, 75.0]
    assert history.names() == {"spikes": ("energy_pj.float16", "energy_pj.unary")}
    assert RunHistory().layers("firing_rate")[2].shape == (0, 0)


@pytest.mark.parametrize(
    "damage",
    [
        {"layers": 7, "energy": []},
        {"layers": [1, {"name": None, "firing_rate": "x"}], "energy": {"readings": {"key": 1}}},
        {"loss": 10**400, "attempt": "two"},
        {"step": 10**30},
        {"step": 4, "attempt": 10**30},
    ],
)
def test_damaged_records_do_no_harm(damage: dict[str, Any]) -> None:
    history = RunHistory()
    history.extend([{"kind": "spikes", "step": 2, **damage}, {**train(3, 1.5), **damage}, train(9, 1.0)])
    assert history.series("train", "loss")[1][-1] == 1.0


def test_views_cannot_be_written_to() -> None:
    history = RunHistory()
    history.extend([train(1, 1.0)])
    with pytest.raises(ValueError, match="read-only"):
        history.series("train", "loss")[1][0] = 2.0


def test_a_million_lines_stay_cheap_to_extend_and_to_resume() -> None:
    history, chunk = RunHistory(), 50_000
    for start in range(0, 1_000_000, chunk):
        history.extend([train(step, 1.0) for step in range(start, start + chunk)])

    def seconds(records: list[dict[str, Any]]) -> float:
        began = time.perf_counter()
        history.extend(records)
        history.series("train", "loss")
        return time.perf_counter() - began

    after = min(seconds([train(1_000_000 + step, 1.0)]) for step in range(20))
    again = min(seconds([train(500_000 + step, 2.0, attempt=2)]) for step in range(20))
    between = seconds([{**train(1_000_100, 1.0)}, train(1_000_050, 3.0)])
    assert after < 0.002, "one line more costs nothing, whatever is there"
    assert again < 0.002, "nor does a step measured again"
    assert between < 0.3
    assert len(history) == 1_000_022
    assert history.series("train", "loss")[1][500_019] == 2.0


def test_a_reader_beside_the_writer_never_sees_columns_of_two_lengths() -> None:
    history, done, odd = RunHistory(), threading.Event(), []

    def read() -> None:
        while not done.is_set():
            steps, values = history.series("train", "loss")
            if len(steps) != len(values) or not np.array_equal(steps, values):
                odd.append((steps, values))

    reader = threading.Thread(target=read)
    reader.start()
    for step in range(0, 3000, 2):
        history.extend([train(step, float(step))])
    for step in range(1, 600, 2):
        history.extend([train(step, float(step), attempt=2)])
    done.set()
    reader.join()
    assert odd == []
    assert len(history) == 1800
