"""`Studio()`: one line that puts everything a run needs into one place."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets

from darkit_nb.config import RunConfig
from darkit_nb.runs import RunMonitor, list_runs
from darkit_nb.runs.run import Run
from darkit_nb.widgets.base import StaticView
from darkit_nb.widgets.config_form import ConfigForm
from darkit_nb.widgets.studio_bar import PAGES, StudioBar


class Studio(StaticView, ipywidgets.VBox):
    """Build a run, start it, watch it, look into it and talk to it.

        dk.Studio()

    Pages are made when they are opened first, so that the form is there at once. The newest run still at work in
    `runs_dir` is picked up again, with its whole history: closing the notebook or restarting its kernel loses nothing.

    Args:
        runs_dir: folder of runs.
        config: what the form starts from.
        run: the run to watch; the newest active one of `runs_dir` if not given.

    Attributes:
        run: the run all pages are about, or None; may be set.
        page: the open page; may be set.
        form: the `ConfigForm`.
    """

    def __init__(
        self, *, runs_dir: str | Path = "runs", config: RunConfig | None = None, run: Run | None = None
    ) -> None:
        self.runs_dir = str(runs_dir)
        self._run: Run | None = None
        self._unwatch: Callable[[], None] | None = None
        self._building = threading.RLock()
        self._widgets: dict[str, list[Any]] = {}
        self.bar = StudioBar()
        self._snapshot_id = self.bar._snapshot_id  # the bar's script hides the picture of the whole
        start = config or RunConfig(runs_dir=self.runs_dir)
        self.form = self._part(ConfigForm(start))
        # Pages out of sight keep their width: a chart that is updated without one draws nonsense.
        layout = {"margin": "0", "padding": "0", "overflow": "hidden"}
        self._boxes = {name: ipywidgets.VBox(layout=layout) for name in PAGES}
        super().__init__([self.bar, *self._boxes.values()])
        self._widgets["Build"] = [self.form]
        self._boxes["Build"].children = (self.form,)
        self.form.observe(lambda change: self._started(change["new"]), "run_id")
        self.bar.observe(lambda change: self._open(change["new"]), "page")
        self._open("Build")
        self.run = run or self._newest_active()
        if self._run is not None:
            self.page = "Watch"

    def __repr__(self) -> str:
        return self.text()

    # -- the run and the page ----------------------------------------------------------------------------------------

    @property
    def page(self) -> str:
        """Name of the open page."""
        return self.bar.page

    @page.setter
    def page(self, name: str) -> None:
        self.bar.page = name

    @property
    def run(self) -> Run | None:
        """The run all pages are about."""
        return self._run

    @run.setter
    def run(self, run: Run | None) -> None:
        if self._unwatch is not None:
            self._unwatch()
            self._unwatch = None
        self._run = run
        self.bar.current = None
        if run is not None:
            self._unwatch = RunMonitor.shared().watch(run.directory, self._changed)
        for name in ("Watch", "Spikes", "Generate"):
            for widget in self._widgets.get(name, ()):
                self._bind(widget)

    def _newest_active(self) -> Run | None:
        found = [run for run in list_runs(self.runs_dir) if run.read_status().state in ("running", "starting")]
        return Run(found[-1]) if found else None

    def _started(self, folder: str | None) -> None:
        if not folder:
            return
        run = Run(folder)
        if run.state == "queued":
            self.page = "Runs"  # where it waits; what is watched now stays in sight
            return
        self.run = run
        self.page = "Watch"

    def _changed(self, change: Any) -> None:
        status = change.status
        shown = {"name": change.run.name, "state": status.state, "reason": status.reason}
        if shown != self.bar.current:
            self.bar.current = shown

    # -- pages -------------------------------------------------------------------------------------------------------

    def _open(self, name: str) -> None:
        with self._building:
            if name not in self._widgets:
                self._widgets[name] = [self._part(widget) for widget in self._build(name)]
                self._boxes[name].children = tuple(self._widgets[name])
        for each, box in self._boxes.items():
            box.layout.visibility, box.layout.height = ("visible", "auto") if each == name else ("hidden", "0")
        self.refresh_snapshot()

    def _build(self, name: str) -> list[Any]:
        from darkit_nb import widgets

        if name == "Data":
            preview = widgets.DataPreview(self.form.config)
            preview.follow(self.form)
            return [preview]
        if name == "Watch":
            from darkit_nb.widgets.dashboard import RunDashboard

            dashboard = RunDashboard(self._run)
            dashboard.panel.observe(lambda change: self._cloned(change["new"]), "cloned")
            return [dashboard]
        if name == "Spikes":
            return [widgets.SpikeRaster(self._run)]
        if name == "Generate":
            return [widgets.GenerateBox(self._run)]
        table = widgets.RunsTable(self.runs_dir)
        table.observe(lambda change: self._chosen(change["new"]), "current")
        return [table]

    def _part(self, widget: Any) -> Any:
        widget.snapshot_parent = self
        return widget

    def _bind(self, widget: Any) -> None:
        widget.run = self._run

    def _cloned(self, config: RunConfig | None) -> None:
        if config is not None:
            self.form.config = config
            self.page = "Build"

    def _chosen(self, run_id: str | None) -> None:
        if run_id:
            self.run = Run(Path(self.runs_dir) / run_id)
            self.page = "Watch"

    # -- without a browser -------------------------------------------------------------------------------------------

    def text(self) -> str:
        """The open page as text."""
        parts = [self.bar.text(), *(widget.text() for widget in self._widgets[self.page])]
        return "\n\n".join(parts)

    def snapshot(self) -> str:
        """What was built, watched and probed so far, one under the other."""
        shown = [name for name in PAGES if name in self._widgets and (name == self.page or name in ("Watch", "Spikes"))]
        return "".join(widget.snapshot() for name in shown for widget in self._widgets[name])
