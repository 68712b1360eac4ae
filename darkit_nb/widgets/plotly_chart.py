"""A chart in Plotly's words: traces, their arrays, and a layout whose panels never move. Nothing here loads Plotly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkit_nb.views.chart import Chart, Line, Mark, Panel
from darkit_nb.views.chart_layout import Box, arrange, step_limits
from darkit_nb.views.chart_svg import short_role
from darkit_nb.views.heat import Heat
from darkit_nb.views.palette import DARK, LIGHT, Palette

TWO_COLUMNS = 640
"""Width in pixels from which two panels stand side by side."""
MARK_LINES = 40
"""Resumes and patches drawn as lines through all panels; the newest ones where there are more."""

_DASHES = {"dashed": "dash", "line": "solid", "faint": "solid", "points": "solid"}
_SYMBOLS = {"checkpoint": "triangle-up", "resume": "triangle-right", "patch": "diamond"}
_NUMBERED = np.iinfo(np.int32).max


def structure(chart: Chart) -> tuple[Any, ...]:
    """What the traces are; as long as it stays, only their arrays change."""
    heats = [None if panel.heat is None else (panel.heat.rows, panel.heat.groups) for panel in chart.panels]
    lines = [(line.key, line.name, line.colour, line.style) for panel in chart.panels for line in panel.lines]
    return tuple(heats), tuple(lines), chart.runs


def arrays(chart: Chart) -> list[dict[str, Any]]:
    """What each trace draws, in the order of `traces`: numpy arrays, which cross to the page as they are."""
    found: list[dict[str, Any]] = []
    for panel in chart.panels:
        if panel.heat is not None:
            z = np.round(panel.heat.z.astype(float), 2)
            cells = [[_known(value) for value in row] for row in z.tolist()]
            found.append({"x": _steps(panel.heat.x), "y": list(panel.heat.rows), "z": cells})
        found += [{"x": _steps(line.x), "y": line.y.astype(np.float32)} for line in panel.lines]
    steps = np.array([mark.step for mark in chart.marks], np.int64)
    heights = np.array([0.025 if mark.kind == "checkpoint" else 0.97 for mark in chart.marks], np.float32)
    found.append({"x": _steps(steps), "y": heights, "text": [mark.text for mark in chart.marks]})
    return found


def traces(chart: Chart, palette: Palette) -> list[dict[str, Any]]:
    """Every trace without its arrays: panels in order, a heat map or curves; the marks last."""
    found: list[dict[str, Any]] = []
    for number, panel in enumerate(chart.panels, 1):
        axes = {"xaxis": _named("x", number), "yaxis": _named("y", number)}
        if panel.heat is not None:
            found.append(_heat_trace(panel.heat, palette) | axes)
        found += [
            _line_trace(chart, panel, line, palette) | axes | {"legend": _named("legend", number)}
            for line in panel.lines
        ]
    overlay = {"xaxis": "x", "yaxis": _named("y", len(chart.panels) + 1)}
    symbols = {
        "size": 7,
        "symbol": [_SYMBOLS[mark.kind] for mark in chart.marks],
        "color": [_mark_colour(chart, mark, palette) for mark in chart.marks],
    }
    hover = {"hovertemplate": "%{text}<extra></extra>", "showlegend": False, "name": "marks"}
    return [*found, {"type": "scatter", "mode": "markers", "marker": symbols, **hover, **overlay}]


def _line_trace(chart: Chart, panel: Panel, line: Line, palette: Palette) -> dict[str, Any]:
    colour = palette.colour(line.colour)
    alone = len(chart.runs) == 1
    shown = alone and len(panel.lines) > 1 and not isinstance(line.colour, float)
    run = "" if alone else f"{chart.runs[line.run].partition(' (')[0]}, "
    name = line.name if alone or not line.key.endswith(("/smoothed", "/validation")) else f"{run}{line.name}"
    width = {"line": 2, "faint": 1, "dashed": 1.5, "points": 1.2}[line.style]
    return {
        "type": "scatter",
        "mode": "lines+markers" if line.style == "points" else "lines",
        "name": name,
        "line": {"color": colour, "width": width, "dash": _DASHES[line.style]},
        "opacity": 0.35 if line.style == "faint" else 1,
        "marker": {"size": 6, "color": palette.surface, "line": {"color": colour, "width": 1.6}},
        "hovertemplate": f"%{{y:{panel.number}}} {panel.unit}".rstrip(),
        "showlegend": shown,
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


def heat_limits(chart: Chart) -> tuple[float, float] | None:
    """The ends of the colour scale, where there is a heat map."""
    return next((panel.heat.limits for panel in chart.panels if panel.heat is not None), None)


def layout(chart: Chart, width: int, *, dark: bool) -> dict[str, Any]:
    """Axes, titles, legends and marks; panels lie where the static picture has them."""
    palette = DARK if dark else LIGHT
    columns = 2 if width >= TWO_COLUMNS else 1
    boxes, height = arrange(len(chart.panels), width, columns)
    made: dict[str, Any] = {
        "width": width,
        "height": int(height),
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"size": 11, "color": palette.muted, "family": "system-ui, -apple-system, Segoe UI, sans-serif"},
        "hovermode": "x unified",
        "hoverlabel": {"bgcolor": palette.surface, "bordercolor": palette.line, "font": {"color": palette.text}},
        "dragmode": "zoom",
        "uirevision": "kept",
    }
    titles = []
    for number, (panel, box) in enumerate(zip(chart.panels, boxes, strict=True), 1):
        last = box.bottom == max(other.bottom for other in boxes)
        x, y = [box.left / width, box.right / width], [1 - box.bottom / height, 1 - box.top / height]
        made[_named("xaxis", number)] = _step_axis(number, x, palette, last=last)
        made[_named("yaxis", number)] = _value_axis(panel, number, y, palette)
        made[_named("legend", number)] = _legend(x[1], y[1], palette) | {"visible": _has_room(panel, box)}
        titles += _titles(panel, (x, y), palette)
    overlay = {"overlaying": "y", "anchor": "x", "range": [0, 1], "visible": False, "fixedrange": True}
    made[_named("yaxis", len(chart.panels) + 1)] = overlay
    made["annotations"] = titles
    made["shapes"] = [*_scales(chart.panels, boxes, width, height, palette), *mark_lines(chart, palette)]
    return made


def _step_axis(number: int, domain: list[float], palette: Palette, *, last: bool) -> dict[str, Any]:
    return {
        "domain": domain,
        "anchor": _named("y", number),
        "showgrid": False,
        "zeroline": False,
        "showline": True,
        "linecolor": palette.line,
        "showspikes": True,
        "spikemode": "across",
        "spikethickness": 1,
        "spikedash": "dot",
        "spikecolor": palette.muted,
        "hoverformat": ",d",
        "tickformat": "~s",
        "nticks": 7,
        "title": {"text": "step" if last else "", "font": {"size": 11, "color": palette.muted}, "standoff": 2},
        **({"matches": "x"} if number > 1 else {}),
    }


def _value_axis(panel: Panel, number: int, domain: list[float], palette: Palette) -> dict[str, Any]:
    axis: dict[str, Any] = {
        "domain": domain,
        "anchor": _named("x", number),
        "gridcolor": palette.line,
        "zeroline": False,
        "fixedrange": True,
        "automargin": False,
        "exponentformat": "e" if panel.key == "learning_rate" else "SI",
        "nticks": 6,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": "rgba(0,0,0,0)",
        "type": "log" if panel.log else "linear",
        "rangemode": "tozero" if panel.zero else "normal",
    }
    if panel.log:
        axis["dtick"] = "D2"
    if panel.heat is not None:
        # A tick exactly on a row would replace the name of the layer in the hover text.
        middles = [first + (count - 1) / 2 + 0.01 for _, first, count in panel.heat.groups]
        labels = [short_role(name) for name, _, _ in panel.heat.groups]
        axis |= {"type": "category", "autorange": "reversed", "showgrid": False}
        axis |= {"tickmode": "array", "tickvals": middles, "ticktext": labels}
    return axis


def _legend(right: float, top: float, palette: Palette) -> dict[str, Any]:
    place = {"x": right, "xanchor": "right", "y": top, "yanchor": "bottom", "orientation": "h"}
    look = {"bgcolor": "rgba(0,0,0,0)", "font": {"size": 11, "color": palette.muted}}
    return place | look | {"itemwidth": 30}


def _has_room(panel: Panel, box: Box) -> bool:
    """Whether the names of the curves fit beside the title; each stands in the hover text anyway."""
    names = [line.name for line in panel.lines]
    return 7.5 * len(panel.title + panel.unit) + sum(6 * len(name) + 44 for name in names) < box.width


def _titles(panel: Panel, domain: tuple[list[float], list[float]], palette: Palette) -> list[dict[str, Any]]:
    x, y = domain
    unit = f' <span style="color:{palette.muted};font-weight:400">{panel.unit}</span>' if panel.unit else ""
    place = {"xref": "paper", "yref": "paper", "y": y[1], "yanchor": "bottom", "yshift": 4, "showarrow": False}
    title = {"text": f"<b>{panel.title}</b>{unit}", "font": {"size": 13, "color": palette.text}}
    found = [{**place, **title, "x": x[0], "xanchor": "left"}]
    ends = _scale_ends(panel)
    if ends:
        small = {"font": {"size": 11, "color": palette.muted}, "yshift": 5}
        found.append({**place, **small, "x": x[1], "xanchor": "right", "text": ends[1]})
        found.append({**place, **small, "x": x[1], "xanchor": "right", "xshift": -126, "text": ends[0]})
    return found


def _scale_ends(panel: Panel) -> tuple[str, str] | None:
    """Words at the ends of the colour scale of a panel that has one."""
    if panel.heat is not None:
        low, high = panel.heat.limits
        return f"{low:g} %", f"{high:g} %"
    return ("first layer", "last") if panel.lines and isinstance(panel.lines[0].colour, float) else None


def _scales(
    panels: Sequence[Panel], boxes: Sequence[Box], width: int, height: float, palette: Palette
) -> list[dict[str, Any]]:
    """The colour scale of a panel as a row of small boxes beside its title."""
    found = []
    for panel, box in zip(panels, boxes, strict=True):
        if _scale_ends(panel) is None:
            continue
        colour = palette.along if panel.heat is not None else palette.colour
        for index in range(15):
            left = box.right - 120 + 5 * index
            x, y = (left / width, (left + 5) / width), (1 - (box.top - 17) / height, 1 - (box.top - 9) / height)
            place = {"xref": "paper", "yref": "paper", "x0": x[0], "x1": x[1], "y0": y[0], "y1": y[1]}
            found.append({"type": "rect", "fillcolor": colour(index / 14.0), "line": {"width": 0}, **place})
    return found


def _mark_colour(chart: Chart, mark: Mark, palette: Palette) -> str:
    return palette.muted if len(chart.runs) == 1 else palette.colour(mark.run)


def step_range(chart: Chart) -> tuple[float, float]:
    """First and last step of what is drawn, whatever part of it is shown."""
    return step_limits(replace(chart, limits=(None, None)))


def mark_lines(chart: Chart, palette: Palette) -> list[dict[str, Any]]:
    """Resumes and patches as lines through every panel."""
    told: list[Mark] = [mark for mark in chart.marks if mark.kind != "checkpoint"][-MARK_LINES:]
    return [
        {
            "type": "line",
            "xref": _named("x", number),
            "yref": _named("y", number) + " domain",
            "x0": mark.step,
            "x1": mark.step,
            "y0": 0,
            "y1": 1,
            "line": {
                "width": 1,
                "dash": "dot" if mark.kind == "resume" else "dash",
                "color": _mark_colour(chart, mark, palette),
            },
        }
        for mark in told
        for number in range(1, len(chart.panels) + 1)
    ]


def _named(kind: str, number: int) -> str:
    """Plotly numbers axes and legends from 2; the first one has no number."""
    return kind if number == 1 else f"{kind}{number}"


def _steps(x: NDArray[np.generic]) -> NDArray[np.generic]:
    """As a type that JavaScript has an array of."""
    whole = x.dtype.kind == "i" and (not len(x) or max(abs(int(x[0])), abs(int(x[-1]))) < _NUMBERED)
    return x.astype(np.int32 if whole else np.float64)


def _known(value: float) -> float | None:
    return value if value == value else None
