"""Paired differences: what windows share cancels, the interval covers, and unlike texts are refused."""

from __future__ import annotations

import dataclasses
import json
import math
import random

import pytest

from darkit_nb.errors import DataError
from darkit_nb.evaluate.paired import against, paired_difference, student_t, summary_of
from darkit_nb.records.conversion_result import ConversionComparison
from darkit_nb.records.paired import WindowLosses
from tests.records.conversions import rows


def scored(nats: list[float], **changes: object) -> WindowLosses:
    made = WindowLosses(text="t", window=8, bytes_per_token=2.0, nats=tuple(nats), text_sha256="a")
    return dataclasses.replace(made, **changes)


def test_a_difference_by_hand():
    unit = 2 * math.log(2)
    found = paired_difference(scored([2 + unit, 3 + 2 * unit, 4 + 3 * unit]), scored([2.0, 3.0, 4.0]))
    assert found.delta == pytest.approx(2)
    assert found.standard_error == pytest.approx(1 / math.sqrt(3))
    assert (found.low, found.high) == pytest.approx((2 - 4.3027 / math.sqrt(3), 2 + 4.3027 / math.sqrt(3)))
    assert found.windows == 3


def test_models_are_put_beside_one_of_them_by_name_or_folder():
    found = rows()
    quarot = next(row for row in found if row.name == "quarot W4A4")
    for name in ("quarot", "quarot W4A4", quarot.path, quarot.path.rpartition("/")[2]):
        comparison = against(found, name)
        assert (comparison.reference, comparison.path) == (quarot.name, quarot.path)
    assert set(comparison.differences) == {row.path for row in found} - {quarot.path}
    for row in found:
        if row is not quarot:
            assert comparison.differences[row.path] == paired_difference(row.losses, quarot.losses)
    assert ConversionComparison.from_dict(json.loads(json.dumps(comparison.to_dict()))) == comparison
    other = dataclasses.replace(found[1], losses=dataclasses.replace(found[1].losses, text_sha256="another"))
    assert other.path not in against([other, quarot], "quarot").differences


def test_a_reference_that_can_mean_none_or_several_is_refused():
    twice = [*rows(), dataclasses.replace(rows()[-1], path="elsewhere/darkit")]
    for name, word in (("omniquants", "No model"), ("darkit W4A4", "2 models"), ("", "No model")):
        with pytest.raises(DataError, match=word):
            against(twice, name)
    assert against(twice, "elsewhere/darkit").path == "elsewhere/darkit"


def test_what_all_windows_share_cancels():
    hard = [random.Random(0).gauss(3, 1) for _ in range(40)]
    found = paired_difference(scored([each + 0.1 for each in hard]), scored(hard))
    assert found.delta == pytest.approx(0.1 / 2 / math.log(2))
    assert found.standard_error < 1e-12


@pytest.mark.parametrize(
    ("degrees", "published"), [(1, 12.706), (4, 2.776), (7, 2.365), (10, 2.228), (30, 2.042), (95, 1.985)]
)
def test_the_points_of_student_t_are_the_published_ones(degrees: int, published: float):
    assert student_t(degrees) == pytest.approx(published, abs=1.2e-3)


def test_the_interval_covers_the_truth_95_times_in_a_hundred():
    draw = random.Random(1)
    covered = 0
    for _ in range(2000):
        found = summary_of([draw.gauss(0.3, 1.0) for _ in range(12)])
        covered += found.low <= 0.3 <= found.high
    assert 0.935 <= covered / 2000 <= 0.965


def test_one_window_has_no_error_and_unlike_texts_make_no_pairs():
    assert math.isnan(paired_difference(scored([1.0]), scored([2.0])).standard_error)
    for other in (scored([1.0, 2.0]), scored([1.0], text_sha256="b"), scored([1.0], window=4)):
        with pytest.raises(DataError, match="same windows"):
            paired_difference(scored([1.0]), other)


def test_what_keeps_two_scores_apart_is_named():
    base = scored([1.0, 2.0])
    assert base.unlike(scored([3.0, 4.0], text="the same under another name")) == ""
    assert scored([1.0, 2.0], text="u", text_sha256="b").unlike(base) == "another text"
    assert scored([1.0, 2.0], window=16).unlike(base) == "windows of 16 tokens"
    assert scored([1.0]).unlike(base) == "1 window"
    assert scored([1.0, 2.0], bytes_per_token=3.0, text_sha256="b").unlike(base) == "another tokenizer"
    assert scored([1.0, 2.0], text_sha256="b").unlike(base) == "other tokens of the text"
