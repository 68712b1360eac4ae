"""The benchmark harness refuses wrong answers, is fair about order, and appends."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from benchmarks.harness import compare, record, spread


def test_a_fast_wrong_answer_is_never_timed():
    calls = []

    def agree(results):
        assert results["slow"] == results["fast"], "the rivals disagree"

    with pytest.raises(AssertionError, match="disagree"):
        compare({"slow": lambda: 1, "fast": lambda: calls.append(1)}, agree=agree)
    assert calls == [1]


def test_ratios_are_to_the_first_rival_and_the_order_rotates():
    order: list[str] = []

    def work(name: str, seconds: float):
        order.append(name)
        time.sleep(seconds)

    rivals = {"base": lambda: work("base", 0.004), "twice": lambda: work("twice", 0.008)}
    row = compare(rivals, agree=lambda results: None, rounds=4, warm_up=0)
    assert set(row["ratio"]) == {"twice"}
    assert 1.3 < row["ratio"]["twice"]["median"] < 3
    assert order[2:] == ["base", "twice", "twice", "base", "base", "twice", "twice", "base"]


def test_spread_orders_its_percentiles():
    assert spread([float(n) for n in range(11)]) == {"median": 5.0, "p10": 1.0, "p90": 9.0}
    assert spread([2.0]) == {"median": 2.0, "p10": 2.0, "p90": 2.0}


def test_rows_are_appended_with_their_provenance(tmp_path: Path):
    record("toy", {"shape": [1, 2], "value": 3}, results=tmp_path)
    record("toy", {"shape": [1, 2], "value": 4}, results=tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "toy.jsonl").read_text().splitlines()]
    assert [row["value"] for row in rows] == [3, 4]
    assert {"benchmark", "time", "commit", "device", "threads", "torch"} <= set(rows[0])
