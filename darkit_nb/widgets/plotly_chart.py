"""A chart in Plotly's words: traces, and the arrays they draw. Nothing here loads Plotly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkit_nb.views.chart import Chart, Line, Panel
from darkit_nb.views.heat import Heat
from darkit_nb.views.palette import Palette
from darkit_nb.widgets.plotly_layout import axis_name, mark_colour, step_range

_DASHES = {"dashed": "dash", "line": "solid", "faint": "solid", "points": "solid"}
_SYMBOLS = {"checkpoint": "triangle-up", "resume": "triangle-right", "patch": "diamond", "revert": "diamond-open"}
_NOWHERE = {"type": "scatter", "mode": "markers", "opacity": 0, "hoverinfo": "skip", "name": "nowhere"}
_NUMBERED = np.iinfo(np.int32).max


def structure(chart: Chart) -> tuple[Any, ...]:
    """What the traces are; as long as it stays, only their arrays change."""
    heats = [None if panel.heat is None else bool(panel.heat.rows) for panel in chart.panels]
    lines = [(line.key, line.name, line.colour, line.style) for panel in chart.panels for line in panel.lines]
    return tuple(heats), tuple(lines), chart.runs


def arrays(chart: Chart) -> list[dict[str, Any]]:
    """What each trace draws, in the order of `traces`: numpy arrays, which cross to the page as they are.

    What is empty gets one point that is not there: Plotly forgets axes without points. No heat map does: a point
    between its rows would be a row.
    """
    nowhere = {"x": _steps(np.array([step_range(chart)[0]])), "y": np.full(1, np.nan, np.float32)}
    found: list[dict[str, Any]] = []
    for panel in chart.panels:
        if panel.heat is not None:
            cells = np.ascontiguousarray(panel.heat.z, np.float32)
            found.append({"x": _steps(panel.heat.x), "y": list(panel.heat.rows), "z": cells})
            found += [] if panel.heat.rows else [nowhere]
        for line in panel.lines:
            found.append({"x": _steps(line.x), "y": line.y.astype(np.float32)} if len(line.x) else nowhere)
    steps = np.array([mark.step for mark in chart.marks], np.int64)
    heights = np.array([0.025 if mark.kind == "checkpoint" else 0.97 for mark in chart.marks], np.float32)
    marks = {"x": _steps(steps), "y": heights, "text": [mark.text for mark in chart.marks]}
    return [*found, marks if chart.marks else nowhere | {"text": [""]}]


def traces(chart: Chart, palette: Palette) -> list[dict[str, Any]]:
    """Every trace without its arrays: panels in order, a heat map or curves; the marks last."""
    found: list[dict[str, Any]] = []
    for number, panel in enumerate(chart.panels, 1):
        axes = {"xaxis": axis_name("x", number), "yaxis": axis_name("y", number)}
        if panel.heat is not None:
            found.append(_heat_trace(panel.heat, palette) | axes)
            found += [] if panel.heat.rows else [_NOWHERE | axes]
        found += [_line_trace(chart, panel, line, palette) | axes for line in panel.lines]
    overlay = {"xaxis": "x", "yaxis": axis_name("y", len(chart.panels) + 1)}
    symbols = {
        "size": 7,
        "symbol": [_SYMBOLS[mark.kind] for mark in chart.marks],
        "color": [mark_colour(chart, mark, palette) for mark in chart.marks],
    }
    hover = {"hovertemplate": "%{text}<extra></extra>", "name": "marks"}
    return [*found, {"type": "scatter", "mode": "markers", "marker": symbols, **hover, **overlay}]


def heat_limits(chart: Chart) -> tuple[float, float] | None:
    """The ends of the colour scale, where there is a heat map."""
    return next((panel.heat.limits for panel in chart.panels if panel.heat is not None), None)


def _line_trace(chart: Chart, panel: Panel, line: Line, palette: Palette) -> dict[str, Any]:
    colour = palette.colour(line.colour)
    alone = len(chart.runs) == 1
    run = "" if alone else f"{chart.runs[line.run].partition(' (')[0]}, "
    name = line.name if alone or not line.key.endswith(("/smoothed", "/validation")) else f"{run}{line.name}"
    width = {"line": 2, "faint": 1, "dashed": 1.5, "points": 1.2}[line.style]
    ring = {"size": 6, "color": palette.surface, "line": {"color": colour, "width": 1.6}}
    dot = {"size": 4, "color": colour, "line": {"width": 0}}  # measured seldom: the first one alone makes no line
    seldom = panel.key in ("energy", "firing")
    return {
        "type": "scatter",
        "mode": "lines+markers" if line.style == "points" or seldom else "lines",
        "name": name,
        "line": {"color": colour, "width": width, "dash": _DASHES[line.style]},
        "opacity": 0.35 if line.style == "faint" else 1,
        "marker": dot if seldom else ring,
        "hovertemplate": f"%{{y:{panel.number}}} {panel.unit}".rstrip(),
        "connectgaps": False,
        "cliponaxis": line.style != "points",
    }


def _heat_trace(heat: Heat, palette: Palette) -> dict[str, Any]:
    steps = len(palette.scale) - 1
    return {
        "type": "heatmap",
        "name": "",
        "colorscale": [[index / steps, colour] for index, colour in enumerate(palette.scale)],
        "showscale": False,
        "zmin": heat.limits[0],
        "zmax": heat.limits[1],
        "hovertemplate": "%{y}<br>%{z:.1f} %<extra></extra>",
        "hoverongaps": False,
    }


def _steps(x: NDArray[np.generic]) -> NDArray[np.generic]:
    """As a type that JavaScript has an array of."""
    whole = x.dtype.kind == "i" and (not len(x) or max(abs(int(x[0])), abs(int(x[-1]))) < _NUMBERED)
    return x.astype(np.int32 if whole else np.float64)
