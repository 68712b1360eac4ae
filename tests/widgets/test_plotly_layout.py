"""Everything in a layout has its place, at any width, and Plotly accepts it."""

from __future__ import annotations

import plotly.graph_objects as go
import pytest

from darkit_nb.views.charts import ChartBuilder, ChartRun
from darkit_nb.views.edit_marks import EditMark
from darkit_nb.views.palette import DARK, LIGHT
from darkit_nb.widgets.plotly_chart import arrays, traces
from darkit_nb.widgets.plotly_layout import layout
from tests.views.measurements import history, records


def chart(layers: int = 20, runs: int = 1):
    made = [history(60 + number, layers=layers) for number in range(runs)]
    made[0].extend(records(20, first=30, layers=layers, attempt=2))
    return ChartBuilder().build([ChartRun(str(n), f"run {n}", each, checkpoints=(50,)) for n, each in enumerate(made)])


def texts(described: dict) -> list[str]:
    return [each["text"] for each in described["annotations"]]


@pytest.mark.parametrize("width", [200, 380, 700, 1400])
@pytest.mark.parametrize("layers", [4, 20])
@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("dark", [False, True])
def test_plotly_accepts_it_and_panels_stand_apart(width: int, layers: int, runs: int, dark: bool) -> None:
    shown = chart(layers, runs)
    described = layout(shown, width, dark=dark)
    looks = traces(shown, DARK if dark else LIGHT)
    figure = go.Figure([look | data for look, data in zip(looks, arrays(shown), strict=True)], described)
    panels = [
        (figure.layout[f"xaxis{n or ''}"].domain, figure.layout[f"yaxis{n or ''}"].domain) for n in (0, 2, 3, 4, 5, 6)
    ]
    for index, (x, y) in enumerate(panels):
        assert 0 < x[0] < x[1] < 1
        assert 0 < y[0] < y[1] < 1
        for other_x, other_y in panels[:index]:
            assert x[0] >= other_x[1] or x[1] <= other_x[0] or y[1] <= other_y[0]


def test_names_of_curves_and_scales_stand_where_there_is_room() -> None:
    wide, narrow = layout(chart(), 1100, dark=False), layout(chart(), 250, dark=False)
    assert any("smoothed" in text and LIGHT.colour(0) in text for text in texts(wide))
    assert not any("smoothed" in text for text in texts(narrow))
    assert any("Firing rate of 20 layers" in text for text in texts(wide))
    assert any(text.startswith("<b>Firing rate</b>") and " to " in text for text in texts(narrow))
    assert len(wide["shapes"]) - len(narrow["shapes"]) == 15, "the boxes of the colour scale"
    assert not any("smoothed" in text for text in texts(layout(chart(runs=2), 1100, dark=False)))


def test_a_resume_is_a_line_through_every_panel_in_the_colour_of_its_run() -> None:
    lines = [shape for shape in layout(chart(), 900, dark=False)["shapes"] if shape["type"] == "line"]
    assert [line["x0"] for line in lines] == [30] * 6
    assert {line["line"]["color"] for line in lines} == {LIGHT.muted}
    compared = [shape for shape in layout(chart(runs=2), 900, dark=True)["shapes"] if shape["type"] == "line"]
    assert {line["line"]["color"] for line in compared} == {DARK.colour(0)}


def test_edits_are_named_beside_their_lines_where_there_is_room() -> None:
    edits = (
        EditMark(10, "one", "edit 1"),
        EditMark(11, "two", "edit 2"),
        EditMark(40, "three", "edit 1 out", out=True),
    )
    run = ChartRun("a", "nano", history(60), edits=edits)
    shown = layout(ChartBuilder().build([run]), 900, dark=True)
    named = [(each["x"], each["text"]) for each in shown["annotations"] if each["text"].startswith("edit")]
    assert named == [(10, "edit 1"), (40, "edit 1 out")]
    assert {line["x0"] for line in shown["shapes"] if line["type"] == "line"} == {10, 11, 40}
    compared = ChartBuilder().build([run, ChartRun("b", "other", history(60))])
    assert not any("edit" in text for text in texts(layout(compared, 900, dark=True)))
