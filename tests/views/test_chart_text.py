"""Charts in letters, and as a table."""

from __future__ import annotations

import io
import math

import numpy as np
import pandas
import pytest

from darkit_nb.runs.history import RunHistory
from darkit_nb.views.chart_frame import chart_frame
from darkit_nb.views.chart_text import chart_text, shape_of
from darkit_nb.views.charts import ChartBuilder, ChartRun
from tests.views.measurements import history


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        ([], ""),
        ([math.nan], ""),
        ([5, 5], "▁▁"),
        (range(8), "▁▂▃▄▅▆▇█"),
        ([8, math.nan, 1], "█ ▁"),
        ([*[4] * 48, *[1] * 48], "█" * 12 + "▁" * 12),
    ],
)
def test_a_curve_in_blocks(values: list[float], shape: str) -> None:
    assert shape_of(values) == shape


def test_every_quantity_has_its_line() -> None:
    text = chart_text(ChartBuilder().build([ChartRun("a", "nano", history(100, layers=28))]))
    lines = text.splitlines()
    assert lines[0] == "Charts of nano"
    assert [line.split("  ")[0] for line in lines[1:]] == [
        "Loss", "Loss, validation", "Firing rate of 28 layers",
        "Energy per token, float16", "Energy per token, integer", "Energy per token, bits", "Energy per token, events",
        "Throughput", "Learning rate", "Memory",
    ]  # fmt: skip
    assert lines[-1].endswith("900 → 900 MB")
    assert lines[1].split()[1].startswith("█")


def test_several_runs_are_told_apart() -> None:
    runs = [ChartRun("a", "one", history(30), {"train.seed": 1}), ChartRun("b", "two", history(40), {"train.seed": 2})]
    text = chart_text(ChartBuilder().build(runs))
    assert text.startswith("Charts of 2 runs: one (seed 1); two (seed 2)\n")
    assert "Memory [one]" in text
    assert "Memory [two]" in text
    few = chart_text(ChartBuilder().build([ChartRun("a", "one", history(30, layers=4))]))
    assert "Firing rate by layer: model.layers.0.mlp.up_proj" in few


def test_without_runs_or_measurements_it_says_so() -> None:
    assert chart_text(ChartBuilder().build([])) == "No run to chart."
    assert "nothing measured yet" in chart_text(ChartBuilder().build([ChartRun("a", "nano", RunHistory())]))


def test_the_table_holds_every_measurement_of_every_run() -> None:
    runs = [ChartRun("a", "one", history(50, layers=3)), ChartRun("b", "two", history(20, layers=2))]
    frame = chart_frame(runs)
    assert list(frame.columns[:3]) == ["run", "step", "time"]
    assert len(frame) == 70
    for run in runs:
        own = frame[frame["run"] == run.key].set_index("step")
        for kind, name, column in [
            ("train", "loss", "loss"),
            ("evaluation", "loss", "evaluation_loss"),
            ("spikes", "energy_pj.unary", "spikes_energy_pj.unary"),
        ]:
            steps, values = run.history.series(kind, name)
            if len(steps):
                np.testing.assert_array_equal(own[column].dropna().to_numpy(), values)
                assert own[column].dropna().index.tolist() == steps.tolist()
    rates = frame.loc[frame["run"] == "a", "firing_rate.model.layers.0.mlp.up_proj"].dropna()
    assert len(rates) == 5
    again = pandas.read_csv(io.StringIO(frame.to_csv(index=False)))
    assert again.shape == frame.shape
    assert list(chart_frame([]).columns) == ["run", "step"]
