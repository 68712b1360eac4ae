"""The drawn chart is well-formed, needs nothing from elsewhere, is readable in both themes and small in a notebook."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from darkit_nb.runs.history import RunHistory
from darkit_nb.views.chart import Chart
from darkit_nb.views.chart_layout import arrange, log_ticks, tick_label, ticks
from darkit_nb.views.chart_svg import chart_html, chart_svg
from darkit_nb.views.charts import ChartBuilder, ChartRun
from darkit_nb.views.edit_marks import EditMark
from darkit_nb.views.palette import DARK, LIGHT, Palette, channels
from tests.views.measurements import history

SVG = "{http://www.w3.org/2000/svg}"


def parsed(drawn: str) -> ET.Element:
    return ET.fromstring(drawn)  # noqa: S314  # our own drawing


def one(**options: object) -> Chart:
    edits = (EditMark(70, "edited & tried", "edit <1>"), EditMark(71, "edited again", "edit 2"))
    run = ChartRun("a", "nano <1>", history(200, layers=28), checkpoints=(50, 100), edits=edits)
    return ChartBuilder().build([run], **options)


def several(count: int = 3) -> Chart:
    return ChartBuilder().build(
        [ChartRun(f"r{n}", f"run {n}", history(60 + n), {"train.seed": n}) for n in range(count)]
    )


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [380, 960])
@pytest.mark.parametrize(
    "chart", [one(), one(log=True), several(), ChartBuilder().build([])], ids=["1", "log", "3", "0"]
)
def test_it_is_one_well_formed_picture_that_loads_nothing(chart: Chart, width: int, dark: bool) -> None:
    drawn = chart_svg(chart, width=width, dark=dark)
    root = parsed(drawn)
    assert root.attrib["width"] == str(width)
    assert not re.search(r"<(script|style|foreignObject)", drawn)
    links = re.findall(r'(?:href|src)="([^"]*)"|url\(([^)]*)\)', drawn)
    assert all(each.startswith(("data:", "#")) for pair in links for each in pair if each)
    assert not re.search(r"\bnan\b|\binf\b", drawn)
    titles = [(text.text or "").strip() for text in root.iter(f"{SVG}text") if text.attrib.get("font-weight") == "600"]
    boxes, _ = arrange(len(chart.panels), width, 1 if width == 380 else 2)
    assert titles == [panel.title_for(box.width) for panel, box in zip(chart.panels, boxes, strict=True)]


def test_curves_and_marks_are_where_they_belong() -> None:
    root = parsed(chart_svg(one(), points=2000))
    shown = {title.text for title in root.iter(f"{SVG}title")}
    assert {"nano <1>", "checkpoint 50", "checkpoint 100", "edited & tried"} <= shown
    labels = [text.text for text in root.iter(f"{SVG}text") if (text.text or "").startswith("edit")]
    assert labels == ["edit <1>"], "the second one has no room beside it, and its line still says what it is"
    assert "edited again" in shown
    curves = [path for path in root.iter(f"{SVG}path") if path.attrib.get("fill") == "none"]
    raw = next(path for path in curves if "stroke-opacity" in path.attrib)
    assert len(re.findall("[ML]", raw.attrib["d"])) == 200
    first, last = re.findall(r"[ML]([\d.]+) ([\d.]+)", raw.attrib["d"])[::199]
    assert float(first[0]) < float(last[0])
    assert float(first[1]) < float(last[1]), "a falling loss goes down"


def test_a_gap_lifts_the_pen() -> None:
    made = RunHistory()
    losses = [3.0, 2.5, math.nan, 2.0, math.inf, 1.0]
    made.extend([{"kind": "train", "step": step, "loss": loss} for step, loss in enumerate(losses)])
    root = parsed(chart_svg(ChartBuilder().build([ChartRun("a", "a", made)])))
    raw = next(path for path in root.iter(f"{SVG}path") if "stroke-opacity" in path.attrib)
    assert len(re.findall("M", raw.attrib["d"])) == 3


def test_several_runs_are_named_once_above_all_panels() -> None:
    drawn = chart_svg(several(9), width=420)
    for number in range(9):
        assert drawn.count(f"run {number} (seed {number})</text>") == 1


def test_the_picture_in_a_notebook_is_small() -> None:
    made = RunHistory()
    random = np.random.default_rng(0)
    made.extend(
        [{"kind": "train", "step": s, "loss": float(random.normal()), "tokens_per_s": 1.0} for s in range(5000)]
    )
    shown = chart_html(ChartBuilder().build([ChartRun("a", "a", made)]))
    assert shown.startswith("<img ")
    assert len(shown) < 60_000


def luminance(colour: str) -> float:
    parts = [value / 255 for value in channels(colour)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_colours_stand_out_from_their_ground(palette: Palette) -> None:
    def contrast(colour: str) -> float:
        pair = sorted((luminance(colour), luminance(palette.surface)))
        return (pair[1] + 0.05) / (pair[0] + 0.05)

    assert contrast(palette.text) > 10
    assert contrast(palette.muted) > 4.5
    assert min(contrast(colour) for colour in palette.slots) > 3
    steps = [luminance(colour) for colour in palette.scale]
    assert steps in (sorted(steps), sorted(steps, reverse=True)), "a scale gets steadily lighter or darker"
    assert palette.colour(7) == palette.slots[7]
    assert palette.colour(8) == palette.slots[1]
    assert palette.along(0) == palette.scale[0]
    assert palette.along(1) == palette.scale[-1]


@pytest.mark.parametrize(
    ("low", "high", "about", "labels"),
    [
        (0, 60, 5, ["0", "20", "40", "60"]),
        (0.9, 6.3, 5, ["2", "4", "6"]),
        (0, 0.0021, 3, ["0", "0.001", "0.002"]),
        (0, 250_000, 5, ["0", "50 k", "100 k", "150 k", "200 k", "250 k"]),
        (0, 3e-5, 3, ["0", "1e−5", "2e−5", "3e−5"]),
        (-1.2, 1.2, 4, ["−1", "0", "1"]),
        (2_000_000, 2_400_000, 4, ["2.0 M", "2.1 M", "2.2 M", "2.3 M", "2.4 M"]),
    ],
)
def test_numbers_at_axes_are_round(low: float, high: float, about: int, labels: list[str]) -> None:
    found = ticks(low, high, about)
    assert [tick_label(value, found) for value in found] == labels


def test_a_logarithmic_axis_has_numbers_however_short_it_is() -> None:
    assert log_ticks(0, 4, 4) == [1, 10, 100, 1000, 10_000]
    assert log_ticks(0, 1, 4) == [1, 2, 5, 10]
    assert all(1.5 <= value <= 2.5 for value in log_ticks(math.log10(1.5), math.log10(2.5), 4))
    assert len(log_ticks(math.log10(1.5), math.log10(2.5), 4)) >= 2


def test_panels_do_not_overlap() -> None:
    for columns in (1, 2, 3):
        boxes, height = arrange(6, 900, columns)
        for number, box in enumerate(boxes):
            assert 0 < box.left < box.right < 900
            assert 0 < box.top < box.bottom < height
            for other in boxes[:number]:
                apart = other.right < box.left or other.bottom < box.top
                assert apart
