"""`ChartFigure`: the one Plotly figure of `LiveCharts`. Importing this loads Plotly."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
from plotly.graph_objects import FigureWidget
from plotly.serializers import custom_serializers

from darkit_nb.views.chart import Chart
from darkit_nb.views.palette import DARK, LIGHT
from darkit_nb.widgets import plotly_chart, plotly_layout

Limits = tuple[float | None, float | None]

_RANGE = re.compile(r"xaxis\d*\.range(\[\d\])?$")
_LISTS = ("annotations", "shapes")
_AUTO = re.compile(r"xaxis\d*\.autorange$")


class ChartFigure(FigureWidget):
    """Draws charts one after the other, and sends what changed.

    Args:
        on_zoom: called with the first and last step to show, or (None, None) for all, when somebody zooms.
        guard: held while the figure changes, by whichever thread.
    """

    _made = False

    def __init__(self, on_zoom: Callable[[Limits], None], guard: threading.RLock) -> None:
        self._guard = guard
        self._on_zoom = on_zoom
        self._zoom: Limits = (None, None)
        self._structure: tuple[Any, ...] | None = None
        self._look: tuple[Any, ...] | None = None
        self._reach: tuple[float, float] | None = None
        self._sent: list[dict[str, Any]] = []
        self._traces: list[dict[str, Any]] = []
        self._drawn_layout: dict[str, Any] = {}
        super().__init__()
        self._made = True
        self._config = {"displayModeBar": False, "doubleClick": "autosize", "showTips": False}

    def show_chart(self, chart: Chart, *, width: int, dark: bool) -> None:
        """Draw this chart from now on; the zoom stays as it is."""
        with self._guard:
            structure = plotly_chart.structure(chart)
            if structure != self._structure:
                self._rebuild(chart, dark=dark)
                self._structure, self._look = structure, None
            look = (width, dark, plotly_chart.heat_limits(chart), chart.marks, tuple(map(_axis_facts, chart.panels)))
            with self.batch_update():
                if look != self._look:
                    self._dress(chart, width, dark=dark)
                    self._look = look
                self._send_arrays(plotly_chart.arrays(chart))
                self._reach_out(plotly_layout.step_range(chart))

    def reset_zoom(self) -> None:
        """Show all steps again."""
        with self._guard, self.batch_update():
            for name in self._step_axes():
                self.layout[name].autorange = True
        self._zoomed((None, None))

    def _rebuild(self, chart: Chart, *, dark: bool) -> None:
        """Other traces. A heat map is empty at first: it cannot be drawn before its axis has become one of names."""
        self._traces = plotly_chart.traces(chart, DARK if dark else LIGHT)
        self._sent = [{} if "z" in data else dict(data) for data in plotly_chart.arrays(chart)]
        self.data = ()
        self.add_traces([look | data for look, data in zip(self._traces, self._sent, strict=True)])

    def _dress(self, chart: Chart, width: int, *, dark: bool) -> None:
        """Layout, and whatever of the traces is not the same for this width, theme and unit."""
        self._drawn_layout = plotly_layout.layout(chart, width, dark=dark)
        self.update_layout({name: value for name, value in self._drawn_layout.items() if name not in _LISTS})
        for name in _LISTS:  # as a whole: updated one by one, a list cannot get longer in the page
            self.layout[name] = self._drawn_layout[name]
        before, self._traces = self._traces, plotly_chart.traces(chart, DARK if dark else LIGHT)
        for trace, old, new in zip(self.data, before, self._traces, strict=True):
            trace.update({name: value for name, value in new.items() if old.get(name) != value})

    def _send_arrays(self, arrays: list[dict[str, Any]]) -> None:
        for trace, before, now in zip(self.data, self._sent, arrays, strict=True):
            changed = {name: value for name, value in now.items() if not _same(before.get(name), value)}
            for name, value in changed.items():
                trace[name] = value
            before.update(changed)

    def _reach_out(self, steps: tuple[float, float]) -> None:
        """The axes end where the measurements end: by itself Plotly leaves room for half a marker."""
        if steps != self._reach:
            self._reach = steps
            self.layout["xaxis"].autorangeoptions = {"clipmin": steps[0], "clipmax": steps[1]}

    # -- zoom --------------------------------------------------------------------------------------------------------

    def plotly_relayout(self, relayout_data: dict[str, Any], source_view_id: str | None = None, **options: Any) -> None:
        """What somebody did to the axes in the page; Plotly calls this."""
        super().plotly_relayout(relayout_data, source_view_id=source_view_id, **options)
        if any(_RANGE.match(key) for key in relayout_data):
            touched = next(key.partition(".")[0] for key in relayout_data if _RANGE.match(key))
            low, high = self.layout[touched]["range"]
            self._zoomed((float(low), float(high)))
        elif any(_AUTO.match(key) for key in relayout_data):
            self._zoomed((None, None))

    def _zoomed(self, limits: Limits) -> None:
        self._zoom = limits
        self._on_zoom(limits)

    def _step_axes(self) -> list[str]:
        return [name for name in self.layout if name.startswith("xaxis")]

    # -- what Plotly gets wrong --------------------------------------------------------------------------------------

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """A message of the page; it waits while an update is being made."""
        with self._guard:
            super().set_state(sync_data)

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """The state a page that was loaded again draws; Plotly's own would be that of the day the figure was made."""
        with self._guard:
            state = super().get_state(key, drop_defaults)
            if not self._made:
                return state
            if "_widget_data" in state:
                state["_widget_data"] = custom_serializers["to_json"](self._current_data(), self)
            if "_widget_layout" in state:
                state["_widget_layout"] = custom_serializers["to_json"](self._current_layout(), self)
            return state

    # What the page computed as a default, Plotly takes out of its own record, rows of a heat map among it; a new page
    # needs all of it, so what is missing is filled in from what was sent.

    def _current_data(self) -> list[dict[str, Any]]:
        sent = [look | data for look, data in zip(self._traces, self._sent, strict=True)]
        return [_filled(deepcopy(trace), full) for trace, full in zip(self._data, sent, strict=True)]

    def _current_layout(self) -> dict[str, Any]:
        current = _filled(deepcopy(self._layout_obj._props), self._drawn_layout)
        for name in self._step_axes():
            axis = current.get(name, {})
            axis.pop("autorange", None)
            axis.pop("range", None)
            if self._zoom != (None, None):
                axis["range"] = list(self._zoom)
        return current


def _filled(current: dict[str, Any], full: dict[str, Any]) -> dict[str, Any]:
    """`current`, and what of `full` it has not, through all levels."""
    for name, value in full.items():
        if isinstance(value, dict) and isinstance(current.get(name), dict):
            _filled(current[name], value)
        else:
            current.setdefault(name, value)
    return current


def _axis_facts(panel: Any) -> tuple[Any, ...]:
    return panel.title, panel.unit, panel.log, panel.heat is not None and panel.heat.groups


def _same(before: Any, now: Any) -> bool:
    if before is None:
        return False
    if isinstance(now, np.ndarray):
        return before.dtype == now.dtype and np.array_equal(before, now, equal_nan=now.dtype.kind == "f")
    return before == now
