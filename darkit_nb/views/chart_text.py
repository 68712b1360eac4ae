"""A chart in letters: the shape of every curve, where it began and where it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from darkit_nb.views.chart import Chart, Panel

_BLOCKS = "▁▂▃▄▅▆▇█"
_COLUMNS = 24


def chart_text(chart: Chart) -> str:
    """One line a curve; runs are named where there are several."""
    if not chart.runs:
        return "No run to chart."
    rows = [row for panel in chart.panels for row in _rows(chart, panel)]
    widths = [max((len(row[index]) for row in rows), default=0) for index in range(2)]
    lines = [f"{title:<{widths[0]}}  {shape:<{widths[1]}}  {told}" for title, shape, told in rows]
    named = chart.runs[0] if len(chart.runs) == 1 else f"{len(chart.runs)} runs: {'; '.join(chart.runs)}"
    return "\n".join([f"Charts of {named}", *(lines or ["nothing measured yet"])])


def shape_of(values: NDArray[np.floating] | Sequence[float], columns: int = _COLUMNS) -> str:
    """The course of a curve in blocks of eight heights, its lowest value at the bottom; a space where none is known."""
    array = np.asarray(values, float)
    if not np.isfinite(array).any():
        return ""
    means = [_mean(part) for part in np.array_split(array, min(columns, len(array)))]
    known = np.array([mean for mean in means if np.isfinite(mean)])
    low, span = known.min(), known.max() - known.min()
    places = [0.0 if span == 0 else (mean - low) / span * (len(_BLOCKS) - 1) for mean in means]
    return "".join(_BLOCKS[round(place)] if np.isfinite(place) else " " for place in places)


def _rows(chart: Chart, panel: Panel) -> Iterator[tuple[str, str, str]]:
    if panel.heat is not None:
        means = np.array([_mean(column) for column in panel.heat.z.T])
        yield from _row(panel.title, means, panel)
    smoothed = {line.run for line in panel.lines if line.key.endswith("/smoothed")}
    layers = sum(isinstance(line.colour, float) for line in panel.lines)
    for line in panel.lines:
        if line.style == "faint" and line.run in smoothed:
            continue
        if layers:
            title = f"{panel.title}: {line.name}"
        elif line.name in (chart.runs[line.run], "smoothed", "each step") or panel.key in ("learning_rate", "memory"):
            title = panel.title
        else:
            title = f"{panel.title}, {line.name}"
        if len(chart.runs) > 1:
            title += f" [{chart.runs[line.run].partition(' (')[0]}]"
        yield from _row(title, line.y, panel)


def _row(title: str, values: NDArray[np.floating], panel: Panel) -> Iterator[tuple[str, str, str]]:
    finite = values[np.isfinite(values)]
    if finite.size:
        first, last = format(float(finite[0]), panel.number), format(float(finite[-1]), panel.number)
        yield title, shape_of(values), f"{first} → {last} {panel.unit}".rstrip()


def _mean(values: NDArray[np.floating]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")
