"""The accuracy table: intervals over seeds and windows, ratios of losses, and the newest row of a combination."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest

from benchmarks.conversion_methods import all_methods, changed
from benchmarks.conversion_table import PAGE, grouped, page, ratio, rows, summary, text

CURRENT = {method.name: changed(method.spec) for method in all_methods()}
COSTS = {"mean_steps": 1.0, "code_bits": 4.0, "storage_bits": 4.2, "ace": 16.0}


def row(method: str, differences: list[float], seed: int = 0, **more: object) -> dict[str, object]:
    return {
        "key": f"{method}{seed}",
        "model": "m",
        "parameters": 10,
        "planting": "none",
        "method": method,
        "seed": seed,
        "rotation_seed": 0,
        "differences": differences,
        "outliers": {"kurtosis_mean": 2.0},
        "settings": {"samples": 1, "length": 2, "windows": len(differences), "spec": CURRENT.get(method)},
        "float_bits_per_byte": 1.5,
        "float_perplexity": 9.0,
        **COSTS,
        **more,
    }


def test_one_seed_has_the_interval_of_its_windows():
    found = summary([row("a", [1.0, 2.0, 3.0])])
    assert found["delta"] == 2
    assert found["high"] - 2 == pytest.approx(4.3027 / math.sqrt(3), rel=1e-4)


def test_seeds_that_differ_widen_the_interval():
    alike = [row("a", [1.0, 2.0, 3.0], seed) for seed in (0, 1)]
    apart = [row("a", [1.0 + 2 * seed, 2.0 + 2 * seed, 3.0 + 2 * seed], seed) for seed in (0, 1)]
    narrow, wide = summary(alike), summary(apart)
    assert wide["high"] - wide["low"] > 2 * (narrow["high"] - narrow["low"])
    assert narrow["seeds"] == 2


def test_a_ratio_covers_the_truth():
    draw, covered = random.Random(0), 0
    for _ in range(60):
        hard = [draw.gauss(1.0, 0.3) for _ in range(40)]
        top = row("a", [0.5 * each + draw.gauss(0, 0.05) for each in hard])
        found = ratio([top], [row("b", hard)])
        covered += found["low"] <= 0.5 <= found["high"]
    assert covered >= 50


def test_a_ratio_compares_the_seeds_that_both_have():
    top = [row("a", [1.0, 2.0, 1.5]), row("a", [9.0, 9.0, 9.0], seed=1)]
    assert ratio(top, [row("b", [2.0, 4.0, 3.0])])["ratio"] == pytest.approx(0.5)
    assert ratio(top[1:], [row("b", [3.0, 3.0, 3.0])])["ratio"] == pytest.approx(3.0)


def test_the_newest_row_of_a_combination_counts(tmp_path: Path):
    lines = [row("a", [1.0, 2.0], key="old"), row("a", [3.0, 4.0], key="new"), row("a", [5.0, 6.0], seed=1)]
    (tmp_path / "conversion.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    found = rows(tmp_path)
    assert sorted(each["differences"][0] for each in found) == [3.0, 5.0]
    other = row("a", [7.0, 8.0], seed=2, settings={"samples": 9})
    with (tmp_path / "conversion.jsonl").open("a") as file:
        file.write(json.dumps(other) + "\n")
    assert rows(tmp_path) == [other]


def test_rows_of_other_windows_are_a_table_of_their_own(tmp_path: Path):
    few, many = row("a", [1.0, 2.0]), row("a", [1.0, 2.0, 3.0], seed=1)
    (tmp_path / "conversion.jsonl").write_text("".join(json.dumps(each) + "\n" for each in (few, many)))
    assert grouped(rows(tmp_path)) == {("m", "none", 2): {"a": [few]}, ("m", "none", 3): {"a": [many]}}
    assert "planted: none, 3 windows" in text(rows(tmp_path))


def test_the_text_has_a_line_a_method_and_says_what_the_claims_come_to():
    found = [row("darkit W4A4", [0.01, 0.02, 0.03]), row("quarot W4A4", [0.02, 0.04, 0.05])]
    shown = text(found)
    assert "| darkit W4A4 | 1 | 4 | 4.2 | 16 | +0.0200 |" in shown
    assert "- darkit W4A4 loses 0.55 (" in shown


def test_rows_of_settings_that_have_changed_say_so():
    old = {"samples": 1, "length": 2, "windows": 2, "spec": "of another time"}
    shown = text([row("quarot W4A4", [0.01, 0.02], settings=old), row("darkit W4A4", [0.01, 0.02])])
    assert "| quarot W4A4 (settings since changed) |" in shown
    assert "| darkit W4A4 |" in shown


def test_every_method_has_a_name_of_its_own_and_the_claims_name_methods_there_are():
    from benchmarks.conversion_table import CLAIMS

    names = [method.name for method in all_methods()]
    assert len(names) == len(set(names))
    assert {name for claim in CLAIMS for name in claim[:2]} <= set(names)


def test_windows_that_settings_were_chosen_on_are_left_out(tmp_path: Path) -> None:
    differences = [float(place) for place in range(256)]
    found = [row("a", differences, model=model) for model in ("novel-llama", "another")]
    (tmp_path / "conversion.jsonl").write_text("".join(json.dumps(each) + "\n" for each in found))
    tuned, other = rows(tmp_path)
    assert tuned["differences"] == [*differences[:64], *differences[104:]]
    assert other["differences"] == differences
    assert "216 windows" in text([tuned])


def test_stored_bits_are_those_of_the_newest_row_of_the_same_layers(tmp_path: Path) -> None:
    old = row("a", [1.0, 2.0], time="2026-01-01", storage_bits=4.1)
    new = row("a", [1.0, 2.0], planting="pca", time="2026-01-02", storage_bits=4.3)
    (tmp_path / "conversion.jsonl").write_text("".join(json.dumps(each) + "\n" for each in (new, old)))
    assert [each["storage_bits"] for each in rows(tmp_path)] == [4.3, 4.3]


def test_the_page_says_what_the_rows_say():
    assert PAGE.read_text() == page()
