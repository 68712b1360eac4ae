"""LiveCharts from the kernel's side: real run folders, a figure, and what crosses to the page."""

from __future__ import annotations

import gzip
import io
import re
import statistics
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import plotly.graph_objects
import pytest

from darkit_nb.config import RunConfig
from darkit_nb.errors import RunError
from darkit_nb.runs import Run, RunDirectory
from darkit_nb.views.downsample import MAX_POINTS
from darkit_nb.views.palette import DARK, LIGHT
from darkit_nb.widgets import chart_figure
from darkit_nb.widgets.chart_bar import ChartBar
from darkit_nb.widgets.chart_figure import ChartFigure
from darkit_nb.widgets.chart_source import differences
from darkit_nb.widgets.live_charts import LiveCharts
from tests.views.measurements import records

Make = Callable[..., Run]


def until(true: Callable[[], Any], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def make_run(tmp_path: Path) -> Make:
    """Makes runs that measured so many steps."""

    def make(name: str, steps: int, changes: dict[str, Any] | None = None, **options: Any) -> Run:
        settings = {"name": name, "runs_dir": str(tmp_path / "runs"), **(changes or {})}
        run = RunDirectory.create(RunConfig().replace(settings), command="test")
        run.begin_attempt()
        write(run, records(steps, **options))
        run.write_status(state="finished", step=steps, total_steps=steps)
        return Run(run)

    return make


def write(run: RunDirectory, written: list[dict[str, Any]]) -> None:
    for record in written:
        run.append_metrics(record)


@pytest.fixture
def open_charts() -> Iterator[Callable[..., LiveCharts]]:
    """Makes charts that have drawn what there is, and are closed at the end."""
    made: list[LiveCharts] = []

    def start(runs: Any = None, **options: Any) -> LiveCharts:
        made.append(LiveCharts(runs, **options))
        until(lambda: all(len(source.history) for source in made[-1]._sources))
        made[-1].update()
        return made[-1]

    yield start
    for charts in made:
        charts.close()


Sent = list[tuple[dict[str, Any], list[Any]]]


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """What the figure sends to the page: messages and their buffers."""
    sent: Sent = []
    send = ChartFigure.send

    def listen(self: ChartFigure, content: dict[str, Any], buffers: Any = None) -> None:
        sent.append((content, list(buffers or [])))
        send(self, content, buffers)

    monkeypatch.setattr(ChartFigure, "send", listen)
    return sent


def trace(charts: LiveCharts, name: str) -> Any:
    return next(each for each in charts.figure.traces if each.get("name") == name)


def page_says(charts: LiveCharts, **message: Any) -> None:
    charts.figure._receive(None, message, [])


def test_without_a_run_there_is_only_the_bar_and_no_plotly() -> None:
    code = (
        "import sys; from darkit_nb.widgets import LiveCharts; charts = LiveCharts();"
        "print(charts, len(charts.children), sorted({'plotly', 'torch', 'transformers', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "No run to chart. 1 []"


def test_a_finished_run_is_shown_whole(make_run: Make, open_charts: Callable[..., LiveCharts]) -> None:
    charts = open_charts(make_run("nano", 120, layers=20))
    assert list(charts.children) == [charts.bar, charts.figure]
    steps, losses = charts._sources[0].history.series("train", "loss")
    shown = trace(charts, "each step")
    np.testing.assert_array_equal(shown["x"], steps)
    np.testing.assert_allclose(shown["y"], losses, rtol=1e-6)
    assert [each["type"] for each in charts.figure.traces].count("heatmap") == 1
    assert charts.bar.legend[0]["label"] == "nano"
    assert "Charts of nano" in repr(charts)
    assert charts.snapshot().startswith("<img ")


def test_it_follows_a_run_that_grows_at_most_four_times_a_second(
    make_run: Make, open_charts: Callable[..., LiveCharts], wire: Sent
) -> None:
    run = make_run("nano", 20)
    charts = open_charts(run)
    run.directory.write_status(state="running")
    wire.clear()
    began, step = time.monotonic(), 21
    while time.monotonic() - began < 2 or len(wire) < 4:
        assert time.monotonic() - began < 120
        write(run.directory, records(1, first=step))
        step += 1
        time.sleep(0.02)
    until(lambda: trace(charts, "each step")["x"][-1] == step - 1)
    assert len(wire) <= 4 * (time.monotonic() - began) + 2


def test_no_curve_has_more_points_on_the_wire_and_numbers_go_as_binary(
    make_run: Make, open_charts: Callable[..., LiveCharts], wire: Sent
) -> None:
    charts = open_charts(make_run("nano", 30))
    charts._sources[0].history.extend([{"kind": "train", "step": n, "loss": float(n % 97)} for n in range(31, 50_000)])
    wire.clear()
    charts.update()
    ((message, buffers),) = wire
    sizes = [len(buffer) // 4 for buffer in buffers]
    assert max(sizes) > MAX_POINTS // 2
    assert max(sizes) <= MAX_POINTS
    told = [values for _, values in message["draw"]["arrays"]]
    assert all(isinstance(values[name], dict) for values in told for name in ("x", "y") if name in values)


def test_nothing_is_sent_twice(make_run: Make, open_charts: Callable[..., LiveCharts], wire: Sent) -> None:
    charts = open_charts(make_run("nano", 60, layers=20))
    charts.update()
    wire.clear()
    charts.update()
    assert wire == []


def test_a_page_that_is_ready_late_gets_everything_and_the_library_when_it_asks(
    make_run: Make, open_charts: Callable[..., LiveCharts], wire: Sent
) -> None:
    charts = open_charts(make_run("nano", 30, layers=20))
    wire.clear()
    page_says(charts, do="all")
    ((message, buffers),) = wire
    whole = message["draw"]
    assert whole["whole"]
    assert len(whole["arrays"]) == len(whole["traces"]) == len(charts.figure.traces)
    heat = next(number for number, each in enumerate(whole["traces"]) if each["type"] == "heatmap")
    z = dict(whole["arrays"])[heat]["z"]
    assert (z["shape"][0], z["dtype"], len(buffers[z["buffer"]])) == (20, "float32", 4 * 20 * z["shape"][1])
    wire.clear()
    page_says(charts, do="library")
    ((message, (packed,)),) = wire
    assert message == {"library": True}
    assert len(packed) < 700_000
    assert b"plotly.js\nMIT License" in gzip.decompress(packed)


def test_a_library_that_is_missing_is_told(
    make_run: Make, open_charts: Callable[..., LiveCharts], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    charts = open_charts(make_run("nano", 5))
    monkeypatch.setattr(chart_figure, "LIBRARY", tmp_path / "plotly.js.gz")
    page_says(charts, do="library")
    assert "charting library is missing" in charts.figure.problem["message"]


def test_looks_can_be_changed_and_stay_changed(make_run: Make, open_charts: Callable[..., LiveCharts]) -> None:
    run = make_run("nano", 30)
    charts = open_charts(run)
    charts.figure.restyle(font={"size": 19}, yaxis={"title": {"text": "bits"}})
    charts.bar.width = 500
    shown = charts.figure.drawn_layout
    assert (shown["font"]["size"], shown["font"]["color"]) == (19, LIGHT.muted)
    assert shown["yaxis"]["title"]["text"] == "bits"
    assert shown["width"] == 500


def test_a_push_with_a_million_points_takes_less_than_20_ms(
    make_run: Make, open_charts: Callable[..., LiveCharts]
) -> None:
    charts = open_charts(make_run("nano", 30, layers=28))
    history, chunk = charts._sources[0].history, 50_000
    random = np.random.default_rng(0)

    def lines(first: int, count: int) -> list[dict[str, Any]]:
        noise = random.normal(size=count)
        return [
            {"kind": "train", "step": first + n, "loss": 2 + value, "learning_rate": 1e-3, "tokens_per_s": 8e3 + value}
            for n, value in enumerate(noise.tolist())
        ]

    for start in range(31, 1_000_000, chunk):
        history.extend(lines(start, chunk))
    charts.update()
    seconds = []
    for number in range(15):
        history.extend(lines(1_100_000 + number, 1))
        began = time.thread_time()  # what others do on this machine meanwhile is not counted
        charts.update()
        seconds.append(time.thread_time() - began)
    assert statistics.median(seconds) < 0.02, seconds


def test_zooming_samples_anew_and_a_double_click_shows_all(
    make_run: Make, open_charts: Callable[..., LiveCharts]
) -> None:
    charts = open_charts(make_run("nano", 30))
    charts._sources[0].history.extend([{"kind": "train", "step": n, "loss": 1.0} for n in range(31, 40_000)])
    charts.update()
    assert len(trace(charts, "each step")["x"]) < 2001
    page_says(charts, do="zoom", low=10_000.5, high=10_100.2)
    assert trace(charts, "each step")["x"].tolist() == list(range(10_000, 10_102))
    assert charts.bar.zoomed
    charts.update()
    assert charts.figure.drawn_layout["xaxis2"]["range"] == [10_000.5, 10_100.2], "an update leaves the zoom alone"
    page_says(charts, do="zoom", low=None, high=None)
    assert not charts.bar.zoomed
    assert trace(charts, "each step")["x"][-1] == 39_999
    page_says(charts, do="zoom", low=5, high=10)
    charts.bar.do_reset_zoom()
    assert not charts.bar.zoomed
    reach = charts.figure.drawn_layout["xaxis"]
    assert reach["autorange"] is True
    assert reach["autorangeoptions"] == {"clipmin": 1, "clipmax": 39_999}


def test_a_page_loaded_again_gets_what_is_drawn_now(
    make_run: Make, open_charts: Callable[..., LiveCharts], wire: Sent
) -> None:
    run = make_run("nano", 30, layers=20)
    charts = open_charts(run)
    write(run.directory, records(45, first=31, layers=20))
    until(lambda: trace(charts, "each step")["x"][-1] == 75)
    page_says(charts, do="zoom", low=20, high=60)
    wire.clear()
    page_says(charts, do="all")
    ((message, _),) = wire
    by_name = dict(
        zip([each.get("name") for each in message["draw"]["traces"]], message["draw"]["arrays"], strict=True)
    )
    _, shown = by_name["each step"]
    assert shown["x"]["shape"] == shown["y"]["shape"] == [43]
    assert message["draw"]["layout"]["xaxis"]["range"] == [20.0, 60.0]
    page_says(charts, do="zoom", low=None, high=None)
    assert "range" not in charts.figure.drawn_layout["xaxis"]


def test_the_theme_and_the_width_of_the_page_are_followed(
    make_run: Make, open_charts: Callable[..., LiveCharts]
) -> None:
    charts = open_charts(make_run("nano", 30))
    assert trace(charts, "smoothed")["line"]["color"] == LIGHT.colour(0)
    charts.bar.dark = True
    assert trace(charts, "smoothed")["line"]["color"] == DARK.colour(0)
    assert charts.figure.drawn_layout["xaxis"]["linecolor"] == DARK.line
    assert DARK.surface in charts._file("svg").decode(), "a picture looks like the page"
    charts.bar.width = 360
    shown = charts.figure.drawn_layout
    assert shown["width"] == 360
    assert shown["xaxis"]["domain"] == shown["xaxis2"]["domain"], "one column"


def test_smoothing_and_scale_come_from_the_bar(make_run: Make, open_charts: Callable[..., LiveCharts]) -> None:
    charts = open_charts(make_run("nano", 60))
    rough = np.abs(np.diff(trace(charts, "smoothed")["y"], 2)).mean()
    charts.bar.span = 50
    assert np.abs(np.diff(trace(charts, "smoothed")["y"], 2)).mean() < rough / 2
    charts.bar.span = 1
    np.testing.assert_allclose(trace(charts, "smoothed")["y"], trace(charts, "each step")["y"])
    charts.bar.log = True
    assert charts.figure.drawn_layout["yaxis"]["type"] == "log"
    assert charts.figure.drawn_layout["yaxis3"]["type"] == "linear"


def test_runs_are_compared_and_told_apart(make_run: Make, open_charts: Callable[..., LiveCharts]) -> None:
    first, second = make_run("one", 40), make_run("two", 50, {"train.learning_rate": 0.01})
    charts = open_charts([first, second])
    labels = [row["label"] for row in charts.bar.legend]
    assert labels[1] == "two (learning_rate 0.01)"
    assert labels[0].startswith("one (learning_rate ")
    assert {each.get("name") for each in charts.figure.traces} >= {"one, smoothed", "two, smoothed", "two, validation"}
    charts.bar.do_list()
    assert [choice["name"] for choice in charts.bar.choices] == ["two", "one"]
    charts.bar.selected = [second.id]
    assert charts.runs == [second]
    assert charts.run == second
    charts.run = None
    assert charts.children == (charts.bar,)
    assert charts.bar.legend == []
    charts.runs = ["one", first, first.root]
    assert charts.runs == [first]


def test_a_run_chosen_in_the_page_that_is_gone_is_an_error_in_place(
    make_run: Make, open_charts: Callable[..., LiveCharts]
) -> None:
    charts = open_charts(make_run("nano", 5))
    charts.bar.selected = ["20000101-000000-gone-0000"]
    assert charts.bar.problem is not None
    assert [run.name for run in charts.runs] == ["nano"]
    assert charts.bar.selected == [charts.runs[0].id]


def test_settings_that_differ_are_named_and_long_lists_counted() -> None:
    base = RunConfig()
    assert differences([base, base]) == [{}, {}]
    assert differences([base, base.replace({"train.steps": 7, "name": "x"}), None]) == [
        {"train.steps": str(base.train.steps)}, {"train.steps": "7"}, {"train.steps": "–"}
    ]  # fmt: skip
    many = {"train.steps": 7, "train.learning_rate": 0.5, "train.batch_size": 3, "seed": 9, "data.seq_len": 64}
    assert len(differences([base, base.replace(many)])[1]) == 4
    assert differences([base, base.replace(many)])[1]["and"] == "2 more"


def test_a_plotly_figure_has_what_the_page_draws(make_run: Make, open_charts: Callable[..., LiveCharts]) -> None:
    charts = open_charts([make_run("one", 60, layers=20), make_run("two", 30)])
    charts.bar.dark = True
    page_says(charts, do="zoom", low=5, high=25)
    figure: Any = charts.to_plotly()
    assert isinstance(charts.to_plotly(), plotly.graph_objects.Figure)
    for drawn, given in zip(figure.data, charts.figure.traces, strict=True):
        assert (drawn.type, drawn.name) == (given["type"], given.get("name"))
        np.testing.assert_array_equal(drawn.x, given["x"])
        np.testing.assert_array_equal(drawn.y, given["y"])
        if "line" in given:
            assert drawn.line.color == given["line"]["color"]
    assert figure.layout.xaxis.range == (5, 25)
    assert figure.layout.xaxis.linecolor == DARK.line
    assert [each.text for each in figure.layout.annotations] == [
        each["text"] for each in charts.figure.drawn_layout["annotations"]
    ]


def test_files_are_written(make_run: Make, open_charts: Callable[..., LiveCharts], tmp_path: Path) -> None:
    charts = open_charts([make_run("one", 30), make_run("two", 20)])
    frame = pandas.read_csv(charts.export(tmp_path / "new" / "a.csv"))
    assert len(frame) == 50
    again = pandas.read_parquet(charts.export(str(tmp_path / "a.parquet")))
    pandas.testing.assert_frame_equal(again, frame, check_dtype=False)
    assert ET.parse(charts.export(tmp_path / "a.svg")).getroot().tag.endswith("svg")  # noqa: S314  # our own drawing
    page = charts.export(tmp_path / "a.html").read_text()
    assert "Plotly.newPlot" in page
    assert not re.search(r"""<(script|link|img)[^>]+(src|href)=["']https?:""", page), "it loads nothing from elsewhere"
    with pytest.raises(RunError, match="as 'png'"):
        charts.export(tmp_path / "a.png")
    with pytest.raises(RunError, match="nothing to export"):
        LiveCharts().export(tmp_path / "b.csv")
    assert sorted(file.name for file in tmp_path.glob("*.*")) == ["a.html", "a.parquet", "a.svg"]


def test_downloads_go_through_the_bar(
    make_run: Make, open_charts: Callable[..., LiveCharts], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[Any, Any]] = []
    charts = open_charts(make_run("nano", 10))
    monkeypatch.setattr(ChartBar, "send", lambda self, content, buffers=None: sent.append((content, buffers)))
    for kind in ("csv", "png", "exe"):
        charts.bar._receive(None, {"do": "export", "kind": kind}, [])
        until(lambda: not charts.bar.exporting)
    (csv, table), (png, drawing) = sent
    assert csv == {"file": f"{charts.runs[0].id}.csv", "type": "text/csv"}
    assert len(pandas.read_csv(io.BytesIO(table[0]))) == 10
    assert (png["file"], png["type"]) == (f"{charts.runs[0].id}.png", "image/svg+xml")
    assert drawing[0].startswith(b"<svg")
    assert charts.bar.problem is not None
    assert "exe" in charts.bar.problem["message"]


def test_closed_charts_watch_no_more(make_run: Make, open_charts: Callable[..., LiveCharts]) -> None:
    run = make_run("nano", 10)
    charts = open_charts(run)
    told = charts._sources[0]
    charts.close()
    write(run.directory, records(5, first=11))
    time.sleep(1.5)
    assert told.history.series("train", "loss")[0][-1] == 10
