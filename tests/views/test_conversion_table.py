"""Plan, blocks and results as tables: what is missing reads as missing, and Δ comes with its interval."""

from __future__ import annotations

import dataclasses
import math

from darkit_nb.evaluate.paired import against
from darkit_nb.records.paired import PairedDifference
from darkit_nb.views.conversion_table import block_view, plan_view, result_view
from tests.records.conversions import block, plan, rows


def test_the_plan_names_memory_disk_and_time():
    text = plan_view(plan()).to_text(100)
    for told in ("novel-llama", "LlamaForCausalLM", "6.29 MB", "4.10 MB", "about 31 s", "32 calibration samples"):
        assert told in text
    assert "not known" in plan_view(dataclasses.replace(plan(), seconds_estimate=None)).to_text()


def test_a_block_names_its_worst_layer_and_what_was_taken_over():
    view = block_view([block(0, resumed=True), block(1, own_error=None)], blocks=4)
    assert view.title == "2 of 4 blocks"
    assert view.rows[0][1:4] == ("0.4 %", "0.3 %", "down_proj 0.7 %")
    assert view.rows[1][2] == "–"
    assert view.notes[-1].startswith("1 taken over")


def test_every_pipeline_is_a_row_with_its_interval_and_costs():
    view = result_view(rows())
    assert view.title == "5 models on valid.txt, 64 windows of 256 tokens"
    floating, *_, best = view.rows
    assert floating[:3] == ("float", "36.80", "–")
    assert best[2:7] == ("+0.0163 ± 0.0048", "1.125", "4.5", "4.18", "18")
    assert best[7] == "3.75"  # 15 µJ of unit events against 4 µJ of integers


def test_models_are_put_beside_one_of_them():
    found = rows()
    comparison = against(found, "quarot")
    view = result_view(found, comparison)
    assert view.headers[2:5] == ("Δ bits/byte", "against*", "steps")
    cells = {row[0]: row[3] for row in view.rows}
    assert cells["quarot W4A4"] == "–"
    assert cells["darkit W4A4"].startswith("-0.0075 ±")
    assert cells["float"].startswith("-0.0238 ±")
    assert "against quarot W4A4" in view.notes[0]
    assert result_view(found).headers[3] == "steps"


def test_one_window_gives_no_interval():
    alone = PairedDifference(delta=0.1, standard_error=math.nan, low=math.nan, high=math.nan, windows=1)
    view = result_view([dataclasses.replace(rows()[1], delta=alone)])
    assert view.rows[0][2] == "+0.1000"


def test_names_of_pipelines_are_whole_in_a_hundred_columns():
    text = result_view(rows()).to_text(100)
    assert all(row.name in text for row in rows())
