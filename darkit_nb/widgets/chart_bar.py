"""`ChartBar`: what stands above the charts: which runs, how smooth, which scale, and the way out to files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import traitlets

from darkit_nb.widgets.base import DarkitWidget, script, style


class ChartBar(DarkitWidget):
    """Part of `LiveCharts`, which it tells what was clicked.

    Attributes:
        legend: of every run shown: id, label, state, colours of both themes.
        choices: runs there are to choose from, once the menu was opened: id, name, state.
        span, log: smoothing and the scale of the loss.
        zoomed: whether a part of the steps is shown.
        dark, width: what the page looks like.
        exporting: the kind of file that is being written, or nothing.
    """

    _esm = script("chart_bar")
    _css = style("chart_bar")

    legend = traitlets.List().tag(sync=True)
    choices = traitlets.List().tag(sync=True)
    selected = traitlets.List(traitlets.Unicode()).tag(sync=True)
    span = traitlets.Int(min=1, max=5000).tag(sync=True)
    log = traitlets.Bool(False).tag(sync=True)
    zoomed = traitlets.Bool(False).tag(sync=True)
    dark = traitlets.Bool(False).tag(sync=True)
    width = traitlets.Int(960, min=0).tag(sync=True)
    exporting = traitlets.Unicode().tag(sync=True)

    def __init__(self, actions: dict[str, Callable[..., None]], text: Callable[[], str], **traits: Any) -> None:
        self._actions, self._text = actions, text
        super().__init__(**traits)

    def text(self) -> str:
        """What the charts show, as text."""
        return self._text()

    def do_list(self) -> None:
        """The menu of runs was opened."""
        self._actions["list"]()

    def do_reset_zoom(self) -> None:
        """All steps again."""
        self._actions["reset_zoom"]()

    def do_export(self, kind: str) -> None:
        """A file for the browser's downloads: csv, parquet, svg or png."""
        self._actions["export"](kind)
