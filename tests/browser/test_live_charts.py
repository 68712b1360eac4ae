"""LiveCharts as a person meets it: they move, zoom, survive a reload, follow the theme, and leave a picture behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darkit_nb.config import RunConfig
from darkit_nb.runs import RunDirectory
from darkit_nb.views.palette import DARK
from tests.browser.notebook import Notebook
from tests.views.measurements import records

PLOT = "document.querySelector('.js-plotly-plot .main-svg') && document.querySelector('.js-plotly-plot')"
LAYERS = 20


@pytest.fixture
def grow(notebook: Notebook, request: pytest.FixtureRequest) -> Callable[[int], None]:
    """A run beside the notebook, said to be running; each call measures so many steps more."""
    layers = getattr(request, "param", LAYERS)
    run = RunDirectory.create(RunConfig(name="nano", runs_dir=str(notebook.folder / "runs")), command="test")
    run.begin_attempt()
    done = 0

    def measure(steps: int) -> None:
        nonlocal done
        for record in records(steps, first=done + 1, layers=layers, spikes_every=5):
            run.append_metrics(record)
        done += steps
        run.write_status(state="running", step=done, total_steps=200)

    return measure


def wait(notebook: Notebook, condition: str) -> None:
    """Until a JavaScript expression over the Plotly figure `g` is true."""
    notebook.page.wait_for_function(f"() => {{ const g = {PLOT}; return g && g._fullData?.length && ({condition}); }}")


def ask(notebook: Notebook, expression: str) -> Any:
    return notebook.page.evaluate(f"() => {{ const g = {PLOT}; return {expression}; }}")


def drag(notebook: Notebook, start: float, end: float) -> None:
    """Drag over the loss, between two shares of its width."""
    box = notebook.page.locator(".js-plotly-plot .xy > rect.nsewdrag").first.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    notebook.page.mouse.move(box["x"] + start * box["width"], y)
    notebook.page.mouse.down()
    notebook.page.mouse.move(box["x"] + end * box["width"], y, steps=6)
    notebook.page.mouse.up()


def test_a_growing_run_is_watched(notebook: Notebook, grow: Callable[[int], None], tmp_path: Path) -> None:
    grow(4)
    notebook.run("from darkit_nb.widgets import LiveCharts\ncharts = LiveCharts('nano')\ncharts")
    wait(notebook, "g._fullData[0].x.length === 4")
    grow(1)
    wait(notebook, "g._fullData.some((trace) => trace.type === 'heatmap' && trace.y?.length === 20)")
    grow(95)
    wait(notebook, "g._fullData[0].x.length === 100 && g._fullLayout.xaxis.range[1] === 100")
    assert ask(notebook, "g._fullLayout.yaxis2.range") == [LAYERS - 0.5, -0.5], "rows fill their panel"
    notebook.screenshot("live-charts-light")

    drag(notebook, 0.2, 0.4)
    wait(notebook, "g._fullData[0].x.length < 30 && g._fullLayout.xaxis.range[1] < 60")
    grow(20)
    notebook.page.wait_for_timeout(1500)
    assert ask(notebook, "g._fullLayout.xaxis.range[1]") < 60, "an update leaves the zoom alone"
    zoomed = ask(notebook, "[g._fullLayout.xaxis.range, g._fullData[0].x.length]")

    notebook.reload()
    wait(notebook, f"g._fullData.filter((trace) => trace.type === 'heatmap')[0]?.y.length === {LAYERS}")
    assert ask(notebook, "[g._fullLayout.xaxis.range, g._fullData[0].x.length]") == zoomed
    grow(20)
    notebook.page.get_by_role("button", name="Reset zoom").click()
    wait(notebook, "g._fullData[0].x.length === 140 && g._fullLayout.xaxis.range[1] === 140")

    notebook.theme("dark")
    wait(
        notebook, f"g._fullLayout.xaxis.linecolor === '{DARK.line}' && g._fullData[0].line.color === '{DARK.slots[0]}'"
    )
    notebook.screenshot("live-charts-dark")
    notebook.size(380)
    wait(notebook, "g._fullLayout.width < 380 && g._fullLayout.xaxis.domain[0] === g._fullLayout.xaxis2.domain[0]")
    notebook.screenshot("live-charts-narrow")


# What happens to a page that is many times slower than usual: whatever waits for so many seconds gives up at once.
HURRIED = "const timeout = AbortSignal.timeout.bind(AbortSignal); AbortSignal.timeout = () => timeout(1);"


def test_charts_fill_and_follow_on_a_page_whose_scripts_come_too_late_for_anywidget(
    notebook: Notebook, grow: Callable[[int], None]
) -> None:
    notebook.page.context.add_init_script(HURRIED)
    notebook.reload()
    grow(4)
    notebook.run("from darkit_nb.widgets import LiveCharts\ncharts = LiveCharts('nano')\ncharts")
    wait(notebook, "g._fullData[0].x.length === 4")
    grow(30)
    wait(notebook, "g._fullData[0].x.length === 34")
    notebook.page.get_by_role("button", name="Log").click()
    wait(notebook, "g._fullLayout.yaxis.type === 'log'")
    notebook.run("charts.runs = None")
    notebook.page.get_by_text("No run chosen").wait_for()
    notebook.run("charts.runs = 'nano'")
    notebook.reload()
    wait(notebook, "g._fullData[0].x.length === 34")
    grow(6)
    wait(notebook, "g._fullData[0].x.length === 40")


def test_charts_say_that_their_library_is_loading_and_when_it_does_not(
    notebook: Notebook, grow: Callable[[int], None]
) -> None:
    grow(12)
    slow = """
from darkit_nb.widgets.chart_figure import ChartFigure
given = ChartFigure.do_library
ChartFigure.do_library = lambda figure: None
"""
    notebook.run(slow)
    notebook.run("from darkit_nb.widgets import LiveCharts\ncharts = LiveCharts('nano')\ncharts")
    notebook.page.get_by_text("Loading the charting library").wait_for()
    notebook.screenshot("live-charts-loading")
    notebook.run("charts.figure.send({'library': True}, [b'no script'])")
    notebook.page.get_by_text("The charting library did not load").wait_for()
    notebook.screenshot("live-charts-not-loaded")
    notebook.run("ChartFigure.do_library = given")
    notebook.page.get_by_role("button", name="Try again").click()
    wait(notebook, "g._fullData[0].x.length === 12")


@pytest.mark.parametrize("grow", [6], indirect=True)
def test_few_layers_become_lines(notebook: Notebook, grow: Callable[[int], None]) -> None:
    grow(4)
    notebook.run("from darkit_nb.widgets import LiveCharts\ncharts = LiveCharts('nano')\ncharts")
    wait(notebook, "g._fullData[0].x.length === 4")
    grow(36)
    wait(notebook, "g._fullData.filter((trace) => trace.yaxis === 'y2' && trace.x?.length === 8).length === 6")
    assert ask(notebook, "g._fullLayout.yaxis2.type") == "linear"
    assert 20 < ask(notebook, "g._fullLayout.yaxis2.range[1]") < 120
    notebook.screenshot("live-charts-few-layers")


def test_runs_are_compared_and_looked_into_again(notebook: Notebook, grow: Callable[[int], None]) -> None:
    grow(30)
    other = RunDirectory.create(RunConfig(name="other", runs_dir=str(notebook.folder / "runs"), seed=3), command="test")
    other.begin_attempt()
    for record in records(20, layers=LAYERS, spikes_every=5):
        other.append_metrics(record)
    heat = "g._fullData.some((trace) => trace.type === 'heatmap' && trace.y?.length === 20)"
    notebook.run("from darkit_nb.widgets import LiveCharts\ncharts = LiveCharts('nano')\ncharts")
    wait(notebook, heat)
    notebook.run("charts.runs = ['nano', 'other']")
    wait(
        notebook,
        "g._fullLayout.yaxis2.type === 'linear' && g._fullData.some((trace) => trace.name === 'other, smoothed')",
    )
    notebook.page.get_by_text("other (seed 3)").first.wait_for()
    notebook.screenshot("live-charts-compared")
    notebook.page.get_by_role("button", name="Hide other").click()
    wait(notebook, heat)


def test_files_come_as_downloads(notebook: Notebook, grow: Callable[[int], None], tmp_path: Path) -> None:
    grow(30)
    notebook.run("from darkit_nb.widgets import LiveCharts\nLiveCharts('nano')")
    wait(notebook, "g._fullData[0].x.length === 30")
    begins = {"SVG": b"<svg", "PNG": b"\x89PNG", "HTML": b"<html>", "CSV": b"run,step,", "Parquet": b"PAR1"}
    for kind, head in begins.items():
        notebook.page.get_by_role("button", name="Export").click()
        with notebook.page.expect_download() as found:
            notebook.page.get_by_role("button", name=kind).click()
        file = tmp_path / found.value.suggested_filename
        found.value.save_as(file)
        assert file.suffix == f".{kind.lower()}"
        assert head in file.read_bytes()[:40]  # some versions of Plotly say what kind of document it is first


def test_runs_are_chosen_by_keyboard(notebook: Notebook, grow: Callable[[int], None]) -> None:
    grow(30)
    notebook.run("from darkit_nb.widgets import LiveCharts\ncharts = LiveCharts()\ncharts")
    empty = notebook.page.get_by_text("No run chosen")
    empty.wait_for()
    button = notebook.page.get_by_role("button", name="Runs", exact=True)
    button.focus()
    notebook.page.keyboard.press("Enter")
    notebook.page.get_by_role("checkbox").first.focus()
    notebook.page.keyboard.press("Space")
    wait(notebook, "g._fullData[0].x.length === 30")
    assert not empty.is_visible()
    notebook.page.keyboard.press("Escape")
    notebook.page.get_by_role("checkbox").wait_for(state="detached")
    assert button.evaluate("(element) => element === document.activeElement")


def test_without_a_kernel_the_last_picture_stays(notebook: Notebook, grow: Callable[[int], None]) -> None:
    grow(30)
    notebook.run("from darkit_nb.widgets import LiveCharts\ncharts = LiveCharts('nano')\ncharts")
    wait(notebook, "g._fullData[0].x.length === 30")
    picture = notebook.page.get_by_alt_text("Charts of nano")
    picture.wait_for(state="hidden")
    notebook.run("charts.update(); charts.refresh_snapshot(now=True)")
    notebook.save()
    notebook.shut_down_kernel()
    notebook.watch.allow("widget model not found|Kernel is|kernel")
    notebook.page.reload()
    picture.wait_for(state="visible")
    notebook.screenshot("live-charts-without-kernel")
    assert notebook.path.stat().st_size < 150_000
