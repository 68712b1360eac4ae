"""Rows, costs and paired differences survive JSON, and requests come back as they were written."""

from __future__ import annotations

import json
import math

from darkit_nb.config.conversions import preset
from darkit_nb.records.conversion_request import ConversionRequest
from darkit_nb.records.conversion_result import ConversionRow
from darkit_nb.records.paired import PairedDifference
from tests.records.conversions import progress, rows


def test_rows_survive_json_with_their_scores_beside_them():
    for row in rows():
        plain = json.loads(json.dumps(row.to_dict(), allow_nan=False))
        assert ConversionRow.from_dict(plain) == row
        assert plain["perplexity"] == row.losses.perplexity
        assert ConversionRow.from_dict({**plain, "newer": 1}) == row


def test_an_error_that_is_no_number_is_null_and_comes_back():
    one = PairedDifference(delta=0.5, standard_error=math.nan, low=math.nan, high=math.nan, windows=1)
    plain = one.to_dict()
    assert plain["low"] is None
    back = PairedDifference.from_dict(plain)
    assert (back.delta, back.windows) == (0.5, 1)
    assert math.isnan(back.standard_error)


def test_a_request_comes_back_with_its_spec():
    for pipeline in ("darkit", "pb-llm", "spikellm-omniquant"):
        made = ConversionRequest(source="s", out="o", spec=preset(pipeline), dataset="stdlib", window=64, windows=3)
        assert ConversionRequest.from_dict(json.loads(json.dumps(made.to_dict()))) == made
    assert made.name == "spikellm-omniquant W4A4"


def test_progress_is_plain_data():
    plain = json.loads(json.dumps(progress(rows=rows()).to_dict(), allow_nan=False))
    assert plain["fraction"] == 0.5
    assert plain["active"]
    assert len(plain["reports"]) == 2
