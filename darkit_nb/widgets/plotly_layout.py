"""Where everything of a chart lies, in Plotly's words: axes, titles, scales, marks. Nothing here loads Plotly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from darkit_nb.views.chart import Chart, Mark, Panel
from darkit_nb.views.chart_layout import Box, arrange, labelled_marks, step_limits
from darkit_nb.views.chart_svg import short_role
from darkit_nb.views.palette import DARK, LIGHT, Palette

TWO_COLUMNS = 640
"""Width in pixels from which two panels stand side by side."""
SCALED = 290
"""Width of a panel from which its colour scale stands beside its title."""
_SIGNS = {"line": "━", "faint": "━", "dashed": "╍", "points": "○"}
MARK_LINES = 40
"""Resumes and patches drawn as lines through all panels; the newest ones where there are more."""


def layout(chart: Chart, width: int, *, dark: bool) -> dict[str, Any]:
    """Axes, titles and marks; panels lie where the static picture has them."""
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
        "showlegend": False,
        "hovermode": "x unified",
        "hoverlabel": {"bgcolor": palette.surface, "bordercolor": palette.line, "font": {"color": palette.text}},
        "dragmode": "zoom",
        "uirevision": "kept",
    }
    titles = []
    for number, (panel, box) in enumerate(zip(chart.panels, boxes, strict=True), 1):
        last = box.bottom == max(other.bottom for other in boxes)
        x, y = [box.left / width, box.right / width], [1 - box.bottom / height, 1 - box.top / height]
        made[axis_name("xaxis", number)] = _step_axis(number, x, palette, last=last)
        made[axis_name("yaxis", number)] = _value_axis(panel, number, y, palette)
        titles += _titles(panel, box, (x, y), palette, alone=len(chart.runs) == 1)
    overlay = {"overlaying": "y", "anchor": "x", "range": [0, 1], "visible": False, "fixedrange": True}
    made[axis_name("yaxis", len(chart.panels) + 1)] = overlay
    made["annotations"] = [*titles, *mark_labels(chart, boxes, palette)]
    made["shapes"] = [*_scales(chart.panels, boxes, width, height, palette), *mark_lines(chart, palette)]
    return made


def step_range(chart: Chart) -> tuple[float, float]:
    """First and last step of what is drawn, whatever part of it is shown."""
    return step_limits(replace(chart, limits=(None, None)))


def _step_axis(number: int, domain: list[float], palette: Palette, *, last: bool) -> dict[str, Any]:
    return {
        "domain": domain,
        "anchor": axis_name("y", number),
        "showgrid": False,
        "zeroline": False,
        "showline": True,
        "ticks": "",  # below a heat map there would be some
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
        "anchor": axis_name("x", number),
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


def _title_width(panel: Panel, box: Box) -> float:
    return 7 * len(panel.title_for(box.width) + panel.unit) + 8


def _names(panel: Panel, box: Box, palette: Palette) -> str:
    """The names of the curves behind their colours; nothing where they do not fit beside the title.

    Plotly's own legend takes a third more room and does not stay on the line of the title.
    """
    fits = _title_width(panel, box) + sum(5.6 * len(line.name) + 18 for line in panel.lines) < box.width
    if not fits or len(panel.lines) < 2 or isinstance(panel.lines[0].colour, float):
        return ""
    named = []
    for line in panel.lines:
        colour = palette.colour(line.colour)
        colour = palette.faded(colour) if line.style == "faint" else colour
        named.append(f"<span style='color:{colour}'>{_SIGNS[line.style]}</span> {line.name}")
    return "  ".join(named)


def _titles(
    panel: Panel, box: Box, domain: tuple[list[float], list[float]], palette: Palette, *, alone: bool
) -> list[dict[str, Any]]:
    x, y = domain
    ends, scaled = _scale_ends(panel), box.width >= SCALED
    told = panel.unit if ends is None or scaled else " to ".join(ends)
    unit = f' <span style="color:{palette.muted};font-weight:400">{told}</span>' if told else ""
    place = {"xref": "paper", "yref": "paper", "y": y[1], "yanchor": "bottom", "yshift": 4, "showarrow": False}
    title = {"text": f"<b>{panel.title_for(box.width)}</b>{unit}", "font": {"size": 13, "color": palette.text}}
    found = [{**place, **title, "x": x[0], "xanchor": "left"}]
    small = {**place, "font": {"size": 11, "color": palette.muted}, "yshift": 5, "x": x[1], "xanchor": "right"}
    if ends and scaled:
        found += [{**small, "text": ends[1]}, {**small, "xshift": -126, "text": ends[0]}]
    elif alone and (names := _names(panel, box, palette)):
        found.append({**small, "text": names})
    return found


def _scale_ends(panel: Panel) -> tuple[str, str] | None:
    """Words at the ends of the colour scale of a panel that has one."""
    if panel.heat is not None:
        if not panel.heat.rows:
            return None
        low, high = panel.heat.limits
        return f"{low:g} %", f"{high:g} %"
    return ("first layer", "last") if panel.lines and isinstance(panel.lines[0].colour, float) else None


def _scales(
    panels: Sequence[Panel], boxes: Sequence[Box], width: int, height: float, palette: Palette
) -> list[dict[str, Any]]:
    """The colour scale of a panel as a row of small boxes beside its title."""
    found = []
    for panel, box in zip(panels, boxes, strict=True):
        if _scale_ends(panel) is None or box.width < SCALED:
            continue
        colour = palette.along if panel.heat is not None else palette.colour
        for index in range(15):
            left = box.right - 120 + 5 * index
            x, y = (left / width, (left + 5) / width), (1 - (box.top - 17) / height, 1 - (box.top - 9) / height)
            place = {"xref": "paper", "yref": "paper", "x0": x[0], "x1": x[1], "y0": y[0], "y1": y[1]}
            found.append({"type": "rect", "fillcolor": colour(index / 14.0), "line": {"width": 0}, **place})
    return found


def mark_lines(chart: Chart, palette: Palette) -> list[dict[str, Any]]:
    """Resumes and patches as lines through every panel."""
    told: list[Mark] = [mark for mark in chart.marks if mark.kind != "checkpoint"][-MARK_LINES:]
    return [
        {
            "type": "line",
            "xref": axis_name("x", number),
            "yref": axis_name("y", number) + " domain",
            "x0": mark.step,
            "x1": mark.step,
            "y0": 0,
            "y1": 1,
            "line": {
                "width": 1,
                "dash": "dot" if mark.kind == "resume" else "dash",
                "color": mark_colour(chart, mark, palette),
            },
        }
        for mark in told
        for number in range(1, len(chart.panels) + 1)
    ]


def mark_labels(chart: Chart, boxes: Sequence[Box], palette: Palette) -> list[dict[str, Any]]:
    """Names of the edits beside their lines, in the first panel."""
    place = {"xref": "x", "yref": "y domain", "y": 1, "yanchor": "top", "xanchor": "left", "xshift": 2}
    look = {"showarrow": False, "font": {"size": 10, "color": palette.muted}, "bgcolor": palette.surface}
    shown = labelled_marks(chart, boxes[0].width)[-MARK_LINES:] if boxes else []
    return [{**place, **look, "x": mark.step, "text": mark.label} for mark in shown]


def mark_colour(chart: Chart, mark: Mark, palette: Palette) -> str:
    """Of the run it belongs to, where there are several."""
    return palette.muted if len(chart.runs) == 1 else palette.colour(mark.run)


def axis_name(kind: str, number: int) -> str:
    """Plotly numbers axes from 2; the first one has no number."""
    return kind if number == 1 else f"{kind}{number}"
