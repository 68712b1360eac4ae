"""The card of a conversion: what there is so far, in every form, and nothing invented."""

from __future__ import annotations

import json

from darkit_nb.views.conversion_card import ConversionCard
from tests.records.conversions import block, progress, rows


def test_a_conversion_in_the_middle_shows_plan_blocks_and_layers():
    text = ConversionCard(progress()).to_text()
    assert text.startswith("novel-llama → tiny-spiking by darkit W4A4: running, 2 of 4 blocks, block 3 of 4, about 9 s")
    for part in ("Plan: novel-llama", "2 of 4 blocks", "Error of every layer"):
        assert part in text
    assert "perplexity" not in text


def test_a_finished_one_shows_its_result_and_points():
    done = progress(4, state="finished", stage=None, rows=rows())
    card = ConversionCard(done)
    assert "+0.0163" in card.to_text()
    assert "data:image/svg+xml" in card.to_html()
    data = json.loads(card.to_json())
    assert [point["name"] for point in data["points"]["points"]][-1] == "darkit W4A4"
    assert len(data["layers"]["errors"]) == 4


def test_a_failure_tells_what_to_do_and_markup_in_names_is_text():
    broken = progress(
        1,
        state="failed",
        reason="The disk is full.",
        problem={"message": "The disk is full.", "received": "12 bytes", "cause": None, "fix": "free some space"},
        source="<script>",
        reports=(block(0),),
    )
    text = ConversionCard(broken).to_text()
    assert "The disk is full." in text
    assert "what to do: free some space" in text
    assert "<script>" not in ConversionCard(broken).to_html()


def test_before_anything_is_known_there_is_one_line():
    fresh = progress(0, state="created", stage=None, blocks=None, plan=None, reports=(), eta_s=None)
    assert ConversionCard(fresh).to_text() == "novel-llama → tiny-spiking by darkit W4A4: created"
