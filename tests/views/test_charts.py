"""A chart says what to draw: the right curves, few points, gaps and marks kept, several runs told apart."""

from __future__ import annotations

import math

import numpy as np
import pytest

from darkit_nb.runs.history import RunHistory
from darkit_nb.views.chart import Line
from darkit_nb.views.charts import MANY_LAYERS, RAW_RUNS, ChartBuilder, ChartRun
from darkit_nb.views.downsample import MAX_POINTS, smooth
from darkit_nb.views.edit_marks import edit_marks
from tests.views.measurements import history, records

PANELS = ["loss", "firing", "energy", "throughput", "learning_rate", "memory"]

EDITS = [
    {"kind": "patch", "step": 15, "number": 1, "label": "LlamaMLP in 2 modules"},
    {"kind": "revert", "step": 18, "number": 1, "label": "LlamaMLP in 2 modules", "reason": "asked"},
]


def lines(panel: object) -> dict[str, Line]:
    return {line.key: line for line in panel.lines}  # type: ignore[attr-defined]


def test_one_run_shows_raw_smoothed_and_validation_loss() -> None:
    made = history(100)
    chart = ChartBuilder().build([ChartRun("a", "nano", made)], span=10)
    assert [panel.key for panel in chart.panels] == PANELS
    loss = lines(chart.panel("loss"))
    assert [line.name for line in loss.values()] == ["each step", "smoothed", "validation"]
    steps, values = made.series("train", "loss")
    np.testing.assert_array_equal(loss["0/loss"].y, values)
    np.testing.assert_allclose(loss["0/loss/smoothed"].y, smooth(values, 1 - 2 / 11))
    assert loss["0/validation"].x.tolist() == [25, 50, 75, 100]
    assert (loss["0/loss"].x[0], loss["0/loss"].x[-1]) == (steps[0], steps[-1])


def test_units_follow_the_size_of_the_values() -> None:
    chart = ChartBuilder().build([ChartRun("a", "nano", history(100))])
    assert chart.panel("energy").unit == "µJ"
    assert lines(chart.panel("energy"))["0/float16"].y.tolist() == [9.4] * 10
    assert chart.panel("memory").unit == "MB"
    assert lines(chart.panel("memory"))["0/memory_bytes"].y[0] == 900


@pytest.mark.parametrize("layers", [MANY_LAYERS, MANY_LAYERS + 1])
def test_few_layers_are_lines_and_many_are_a_heat_map(layers: int) -> None:
    panel = ChartBuilder().build([ChartRun("a", "nano", history(40, layers=layers))]).panel("firing")
    assert (panel.heat is None) == (layers <= MANY_LAYERS)
    assert len(panel.lines) == (layers if layers <= MANY_LAYERS else 0)
    if panel.heat is not None:
        assert panel.heat.z.shape == (layers, 4)


def test_several_runs_have_a_colour_each_and_name_the_settings_that_differ() -> None:
    runs = [
        ChartRun(key, key, history(30 + 5 * number), {"spike.num_steps": number}) for number, key in enumerate("abcd")
    ]
    chart = ChartBuilder().build(runs)
    assert chart.runs[1] == "b (num_steps 1)"
    assert [line.colour for line in chart.panel("firing").lines] == [0, 1, 2, 3]
    assert len(runs) > RAW_RUNS
    assert not [line for line in chart.panel("loss").lines if line.style == "faint"]
    assert {line.run for line in chart.panel("loss").lines} == {0, 1, 2, 3}
    assert len(chart.panel("energy").lines) == 4


def test_zooming_spends_the_points_where_one_looks() -> None:
    made = RunHistory()
    made.extend([{"kind": "train", "step": step, "loss": math.sin(step)} for step in range(100_000)])
    builder, run = ChartBuilder(), ChartRun("a", "nano", made)
    whole = lines(builder.build([run]).panel("loss"))["0/loss"]
    part = lines(builder.build([run], limits=(5_000, 6_000)).panel("loss"))["0/loss"]
    assert len(whole.x) <= MAX_POINTS
    assert part.x.tolist() == list(range(4_999, 6_002))


def test_a_growing_run_gives_the_same_chart_as_one_read_at_once() -> None:
    written = records(90) + records(60, first=60, attempt=2)
    builder, growing, run = ChartBuilder(), RunHistory(), None
    for start in range(0, len(written), 17):
        growing.extend(written[start : start + 17])
        run = ChartRun("a", "nano", growing)
        live = builder.build([run], span=20)
    whole = RunHistory()
    whole.extend(written)
    fresh = ChartBuilder().build([ChartRun("a", "nano", whole)], span=20)
    for panel, other in zip(live.panels, fresh.panels, strict=True):
        for line, same in zip(panel.lines, other.lines, strict=True):
            np.testing.assert_array_equal(line.x, same.x)
            np.testing.assert_allclose(line.y, same.y)


def test_marks_tell_of_resumes_checkpoints_and_patches() -> None:
    made = history(30)
    made.extend(records(30, first=20, attempt=2))
    run = ChartRun("a", "nano", made, checkpoints=(10, 20), edits=edit_marks(EDITS))
    marks = ChartBuilder().build([run]).marks
    assert [(mark.step, mark.kind) for mark in marks] == [
        (20, "resume"), (10, "checkpoint"), (20, "checkpoint"), (15, "patch"), (18, "revert")
    ]  # fmt: skip
    assert [mark.label for mark in marks][-2:] == ["edit 1", "edit 1 out"]
    assert ChartBuilder().build([run, ChartRun("b", "b", history(5))]).marks[0].text == "nano: resumed, attempt 2"


def test_nothing_yet_is_a_chart_too() -> None:
    for runs in ([], [ChartRun("a", "nano", RunHistory())]):
        chart = ChartBuilder().build(runs)
        assert [panel.key for panel in chart.panels] == PANELS
        assert not any(len(line.x) for panel in chart.panels for line in panel.lines)
