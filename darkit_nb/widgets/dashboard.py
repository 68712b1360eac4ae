"""`RunDashboard`: what a run shows itself as in a notebook, its panel above its charts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ipywidgets

from darkit_nb.runs import Run
from darkit_nb.widgets.base import StaticView
from darkit_nb.widgets.live_charts import LiveCharts
from darkit_nb.widgets.run_panel import RunPanel


class RunDashboard(StaticView, ipywidgets.VBox):
    """A `RunPanel` and `LiveCharts` of one run.

    Args:
        run: the run, its folder or id.

    Attributes:
        panel: the `RunPanel`.
        charts: the `LiveCharts`.
        run: what both show; may be set.
    """

    def __init__(self, run: Run | str | Path | None = None) -> None:
        self.panel, self.charts = RunPanel(run), LiveCharts(run)
        for part in (self.panel, self.charts):
            part.snapshot_parent = self
        self._snapshot_id = self.panel._snapshot_id  # whose front end hides the picture
        super().__init__([self.panel, self.charts])

    def __repr__(self) -> str:
        return self.text()

    @property
    def run(self) -> Run | None:
        """The run that is shown."""
        return self.panel.run

    @run.setter
    def run(self, run: Run | str | Path | None) -> None:
        self.panel.run = run
        self.charts.run = run

    def close(self) -> None:
        """Stop watching, and remove the widgets; the run goes on."""
        self.panel.close()
        self.charts.close()
        super().close()

    def text(self) -> str:
        """Both parts as text."""
        return f"{self.panel.text()}\n\n{self.charts.text()}"

    def snapshot(self) -> str:
        """Both parts as one static picture."""
        return self.panel.snapshot() + self.charts.snapshot()


_SHOWN: dict[Path, RunDashboard] = {}


def show_run(run: Run) -> Any:
    """The dashboard of a run: the same one every time, so that showing a run often costs no more than once."""
    root = run.root.resolve()
    shown = _SHOWN.get(root)
    if shown is None or shown.comm is None:
        shown = _SHOWN[root] = RunDashboard(run)
    return shown
