"""`ChartFigure`: the one figure of `LiveCharts`. The page draws it with Plotly, which it is sent once, when it asks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkit_nb.errors import DarkitError
from darkit_nb.views.chart import Chart
from darkit_nb.views.palette import DARK, LIGHT
from darkit_nb.widgets import plotly_chart, plotly_layout
from darkit_nb.widgets.base import STATIC, DarkitWidget, script, style

Limits = tuple[float | None, float | None]
LIBRARY = STATIC / "plotly.js.gz"


class ChartFigure(DarkitWidget):
    """Draws charts one after the other, and sends what changed.

    What is drawn is no trait: a page asks for all of it when it is ready to draw, be it at once or after a minute of
    loading, and is told of changes from then on. Messages are numbered, so that a page that missed one asks again.

    Args:
        on_zoom: called with the first and last step to show, or (None, None) for all, when somebody zooms.
        guard: held while the figure changes, by whichever thread.
        text: what the charts show, as text.
    """

    _esm = script("chart_figure")
    _css = style("chart_figure")
    _silent = frozenset({"all", "library", "zoom"})

    def __init__(self, on_zoom: Callable[[Limits], None], guard: threading.RLock, text: Callable[[], str]) -> None:
        self._guard, self._on_zoom, self._text = guard, on_zoom, text
        self._zoom: Limits = (None, None)
        self._structure: tuple[Any, ...] | None = None
        self._look: tuple[Any, ...] | None = None
        self._steps: tuple[float, float] = (0.0, 1.0)
        self._arrays: list[dict[str, Any]] = []
        self._traces: list[dict[str, Any]] = []
        self._layout: dict[str, Any] = {}
        self._changes: dict[str, Any] = {}
        self._number = 0
        super().__init__()

    # -- what is drawn -----------------------------------------------------------------------------------------------

    @property
    def traces(self) -> list[dict[str, Any]]:
        """Everything drawn, in Plotly's words: a dictionary for each trace, with numpy arrays."""
        with self._guard:
            return [look | data for look, data in zip(self._traces, self._arrays, strict=True)]

    @property
    def drawn_layout(self) -> dict[str, Any]:
        """The layout drawn, in Plotly's words; with the zoom, and with what was restyled."""
        with self._guard:
            made = _merged(deepcopy(self._layout), self._changes)
            for name in made:
                if name.startswith("xaxis"):
                    made[name] |= self._reach()
            return made

    def restyle(self, **layout: Any) -> None:
        """Change fonts, titles, colours, sizes: any part of Plotly's layout, from now on.

            charts.figure.restyle(font={"size": 14}, yaxis={"title": {"text": "bits"}})

        Args:
            layout: parts of the layout by Plotly's names; dictionaries are merged, the rest is replaced.
        """
        with self._guard:
            _merged(self._changes, layout)
            if self._structure is not None:
                self._tell(layout=self.drawn_layout)

    def show_chart(self, chart: Chart, *, width: int, dark: bool) -> None:
        """Draw this chart from now on; the zoom stays as it is."""
        with self._guard:
            arrays, structure = plotly_chart.arrays(chart), plotly_chart.structure(chart)
            look = (width, dark, plotly_chart.heat_limits(chart), chart.marks, tuple(map(_axis_facts, chart.panels)))
            same, reach = structure == self._structure, self._reach()
            told: dict[str, Any] = {}
            self._steps = plotly_layout.step_range(chart)
            if not same or look != self._look:
                self._layout = plotly_layout.layout(chart, width, dark=dark)
                self._traces = plotly_chart.traces(chart, DARK if dark else LIGHT)
                told = {"traces": self._traces, "layout": self.drawn_layout}
            elif reach != self._reach():
                told = {"reach": self._reach()}
            news = _news(self._arrays, arrays) if same else []
            self._structure, self._look, self._arrays = structure, look, arrays
            if not same:
                self.do_all()
            elif told or news:
                self._tell(arrays=news, **told)

    def reset_zoom(self) -> None:
        """Show all steps again."""
        self.do_zoom(None, None)

    def _reach(self) -> dict[str, Any]:
        """What the axes of steps show. They end where the measurements end: Plotly leaves room for half a marker."""
        if self._zoom != (None, None):
            return {"autorange": False, "range": list(self._zoom)}
        low, high = self._steps
        return {"autorange": True, "autorangeoptions": {"clipmin": low, "clipmax": high}}

    # -- the page ----------------------------------------------------------------------------------------------------

    def _tell(self, *, whole: bool = False, arrays: Any = (), **parts: Any) -> None:
        """Send a part of the figure; arrays of numbers go as they lie in memory, in the order they are named."""
        buffers: list[Any] = []
        packed = [
            [index, {name: _packed(value, buffers) for name, value in values.items()}] for index, values in arrays
        ]
        self._number += 1
        self.send({"draw": {"number": self._number, "whole": whole, "arrays": packed, **parts}}, buffers)

    def do_all(self) -> None:
        """A page is there, or missed something: send everything."""
        with self._guard:
            if self._structure is not None:
                parts = {"traces": self._traces, "layout": self.drawn_layout}
                self._tell(whole=True, arrays=list(enumerate(self._arrays)), **parts)

    def do_library(self) -> None:
        """A page has no Plotly yet."""
        try:
            packed = LIBRARY.read_bytes()
        except OSError as error:
            raise DarkitError(
                "The charting library is missing.",
                expected=str(LIBRARY),
                received=str(error),
                cause="the front end was not built, or the installation is damaged",
                fix="`make setup` in a checkout, or `pip install --force-reinstall darkit-nb`",
            ) from None
        self.send({"library": True}, [packed])

    def do_zoom(self, low: float | None, high: float | None) -> None:
        """Somebody dragged over a chart, or asked for all steps with a double click."""
        with self._guard:
            self._zoom = (None, None) if low is None or high is None else (float(low), float(high))
            self._tell(reach=self._reach())
        self._on_zoom(self._zoom)

    def returned(self) -> None:
        """Somebody looks again: whoever it is has missed something."""
        super().returned()
        self.do_all()

    def text(self) -> str:
        """What the charts show, as text."""
        return self._text()


def _packed(value: Any, buffers: list[Any]) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    buffers.append(value.tobytes())
    return {"buffer": len(buffers) - 1, "dtype": value.dtype.name, "shape": list(value.shape)}


def _merged(onto: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`onto` with `changes`, through all levels of dictionaries."""
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(onto.get(name), dict):
            _merged(onto[name], value)
        else:
            onto[name] = deepcopy(value)
    return onto


def _axis_facts(panel: Any) -> tuple[Any, ...]:
    return panel.title, panel.unit, panel.log, panel.heat is not None and panel.heat.groups


def _news(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """Of each trace that changed, its number and the arrays that did."""
    pairs = enumerate(zip(before, now, strict=True))
    found = [
        (index, {name: value for name, value in new.items() if not _same(old.get(name), value)})
        for index, (old, new) in pairs
    ]
    return [(index, values) for index, values in found if values]


def _same(before: Any, now: NDArray[Any] | list[Any]) -> bool:
    if isinstance(now, np.ndarray):
        alike = isinstance(before, np.ndarray) and before.dtype == now.dtype
        return alike and np.array_equal(before, now, equal_nan=now.dtype.kind == "f")
    return before == now
