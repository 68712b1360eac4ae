"""`LiveCharts`: loss, spikes and energy of running and finished runs, moving."""

from __future__ import annotations

import html
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ipywidgets

from darkit_nb.errors import RunError
from darkit_nb.runs import list_runs
from darkit_nb.runs.run import Run, open_run
from darkit_nb.views.chart import Chart
from darkit_nb.views.chart_svg import chart_html, chart_svg
from darkit_nb.views.chart_text import chart_text
from darkit_nb.views.charts import SPAN, ChartBuilder
from darkit_nb.views.palette import DARK, LIGHT
from darkit_nb.widgets.attendance import attendance
from darkit_nb.widgets.base import StaticView
from darkit_nb.widgets.chart_bar import ChartBar
from darkit_nb.widgets.chart_export import TYPES, chart_file
from darkit_nb.widgets.chart_figure import ChartFigure
from darkit_nb.widgets.chart_source import ChartSource, differences

FAST_SECONDS, SLOW_SECONDS = 0.25, 1.0
SLOW_FROM = 4000
"""Measurements from which one more changes too little to be drawn four times a second."""

RunLike = Run | str | Path


class LiveCharts(StaticView, ipywidgets.VBox):
    """Charts of one run, or of several beside one another, that follow as long as they train.

        LiveCharts(run)                    # also by id, name or folder
        LiveCharts([run, "nano-4-steps"])

    Drag over a chart to zoom into its steps, where up to 2 000 points a curve are spent anew; a double click shows all.

    Args:
        runs: what to show; None begins with nothing.
        runs_dir: where ids are looked up and the menu finds runs.

    Attributes:
        runs: the runs shown; may be set.
        run: the first of them; setting it shows that one alone.
        bar: the controls above the charts.
        figure: the charts as Plotly draws them; `figure.restyle(font={"size": 14})` changes their looks.
    """

    def __init__(self, runs: RunLike | Iterable[RunLike] | None = None, *, runs_dir: str | Path = "runs") -> None:
        self._runs_dir = Path(runs_dir)
        self._lock = threading.RLock()
        self._sources: list[ChartSource] = []
        self._builder = ChartBuilder()
        self._chart = Chart((), ())
        self._limits: tuple[float | None, float | None] = (None, None)
        self._timer: threading.Timer | None = None
        self._pushed = 0.0
        actions = {"list": self._list_choices, "reset_zoom": self.reset_zoom, "export": self._export_in_page}
        self.bar = ChartBar(actions, self.text, span=SPAN)
        self.figure = ChartFigure(self._zoomed, self._lock, self.text)
        self._snapshot_id = self.bar._snapshot_id  # whose front end hides the picture
        super().__init__([self.bar])
        self.bar.observe(self._chosen, "selected")
        self.bar.observe(lambda _: self.update(), ["span", "log", "dark", "width"])
        self.runs = runs
        attendance.join(self)

    def __repr__(self) -> str:
        return self.text()

    # -- which runs --------------------------------------------------------------------------------------------------

    @property
    def runs(self) -> list[Run]:
        """What is shown."""
        return [source.run for source in self._sources]

    @runs.setter
    def runs(self, runs: RunLike | Iterable[RunLike] | None) -> None:
        given = [] if runs is None else [runs] if isinstance(runs, Run | str | Path) else list(runs)
        found = list(dict.fromkeys(open_run(each, self._runs_dir) for each in given))
        if found == self.runs:
            return
        with self._lock:
            kept = {source.run: source for source in self._sources}
            for run in kept.keys() - set(found):
                kept[run].unwatch()
            self._sources = [kept.get(run) or ChartSource(run, self._soon) for run in found]
            for source, settings in zip(self._sources, differences([s.config for s in self._sources]), strict=True):
                source.settings = settings if len(found) > 1 else {}
            self.bar.selected = [run.id for run in found]
        if found:
            self._runs_dir = found[0].root.parent
        self.update()

    @property
    def run(self) -> Run | None:
        """The first run shown."""
        return self._sources[0].run if self._sources else None

    @run.setter
    def run(self, run: RunLike | None) -> None:
        self.runs = run

    def _chosen(self, change: Any) -> None:
        """The menu of the page."""
        if list(change["new"]) != [run.id for run in self.runs]:
            self.bar.guard(setattr, self, "runs", [self._runs_dir / name for name in change["new"]])
            self.bar.selected = [run.id for run in self.runs]

    def _list_choices(self) -> None:
        runs = reversed(list_runs(self._runs_dir))
        self.bar.choices = [{"id": run.id, "name": run.name, "state": run.read_status().state} for run in runs]

    def close(self) -> None:
        """Stop watching, and remove the widget; the runs go on."""
        for source in self._sources:
            source.unwatch()
        self.figure.close()
        super().close()

    # -- drawing -----------------------------------------------------------------------------------------------------

    def _soon(self) -> None:
        """Draw when it is time; the news of several runs are drawn together."""
        with self._lock:
            if self._timer is not None:
                return
            size = sum(len(source.history) for source in self._sources)
            pause = FAST_SECONDS if size < SLOW_FROM else SLOW_SECONDS
            wait = max(0.02, self._pushed + pause - time.monotonic())
            self._timer = threading.Timer(wait, self._due)
            self._timer.daemon = True
            self._timer.start()

    def _due(self) -> None:
        self._timer = None
        if not attendance.away:
            self.update()

    def returned(self) -> None:
        """Somebody looks again: draw what came meanwhile."""
        super().returned()
        self._soon()

    def update(self) -> Chart:
        """Draw the runs as they are now; what watches them calls this."""
        with self._lock:
            self._pushed = time.monotonic()
            runs = [source.chart_run() for source in self._sources]
            self._chart = self._builder.build(runs, span=self.bar.span, log=self.bar.log, limits=self._limits)
            self._tell_bar()
            if runs and self.bar.width:
                self.figure.show_chart(self._chart, width=self.bar.width, dark=self.bar.dark)
            shown = [self.bar, self.figure] if runs else [self.bar]
            if list(self.children) != shown:
                self.children = shown
            chart = self._chart
        self.refresh_snapshot()
        return chart

    def _tell_bar(self) -> None:
        rows = [
            {
                "id": source.run.id,
                "label": self._chart.runs[index],
                "state": source.state,
                "light": LIGHT.colour(index),
                "dark": DARK.colour(index),
            }
            for index, source in enumerate(self._sources)
        ]
        with self.bar.hold_sync():
            self.bar.legend = rows
            self.bar.zoomed = self._limits != (None, None)

    def _zoomed(self, limits: tuple[float | None, float | None]) -> None:
        if limits != self._limits:
            self._limits = limits
            self.update()

    def reset_zoom(self) -> None:
        """Show all steps again."""
        self.figure.reset_zoom()

    # -- without a browser, and out of it ----------------------------------------------------------------------------

    def text(self) -> str:
        """The shape of every curve in one line."""
        return chart_text(self._chart)

    def snapshot(self) -> str:
        """The charts as one picture."""
        if not self._sources:
            return f"<p>{html.escape(self.text())}</p>"
        return chart_html(self._chart, dark=self.bar.dark)

    def to_plotly(self) -> Any:
        """What is drawn now as a `plotly.graph_objects.Figure`, to restyle, to combine, or to write as a file.

            charts.to_plotly().update_layout(title="nano, four steps").write_html("nano.html")

        It does not follow the run any further.
        """
        from plotly.graph_objects import Figure

        with self._lock:
            return Figure(self.figure.traces, self.figure.drawn_layout)

    def export(self, path: str | Path) -> Path:
        """Write a file: `.csv` and `.parquet` hold every measurement, `.svg` the charts as they are shown now.

        `.html` is a page of them to zoom into, which needs no network and no notebook.

        Raises:
            RunError: another ending, or nothing to write; `.png` is drawn by the browser, from the menu Export.
        """
        target = Path(path).expanduser()
        content = self._file(target.suffix.lstrip("."))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        return target

    def _file(self, kind: str) -> bytes:
        with self._lock:
            runs, chart, dark = [source.chart_run() for source in self._sources], self._chart, self.bar.dark
        if not runs:
            raise RunError("There is nothing to export.", expected="a run", received="none", fix="choose a run first")
        return chart_file(kind, runs, lambda: chart_svg(chart, dark=dark), lambda: self._page(dark=dark))

    def _page(self, *, dark: bool) -> str:
        figure = self.to_plotly().update_layout(paper_bgcolor=(DARK if dark else LIGHT).surface)
        return figure.to_html(include_plotlyjs=True, config={"displaylogo": False})

    def _export_in_page(self, kind: str) -> None:
        """Make a file in the background and hand it to the page, which makes a PNG of an SVG itself."""
        self.bar.exporting = kind
        threading.Thread(target=self.bar.guard, args=(self._send_file, kind), daemon=True).start()

    def _send_file(self, kind: str) -> None:
        try:
            content = self._file("svg" if kind == "png" else kind)
            stem = self.runs[0].id if len(self.runs) == 1 else f"{len(self.runs)}-runs"
            self.bar.send({"file": f"{stem}.{kind}", "type": TYPES["svg" if kind == "png" else kind]}, [content])
        finally:
            self.bar.exporting = ""
