"""A chart as one SVG that needs nothing else: for a notebook read without a kernel, a paper, a slide."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Iterator
from html import escape

import numpy as np
from numpy.typing import NDArray

from darkit_nb.views.chart import Chart, Line, Panel
from darkit_nb.views.chart_layout import (
    TICKS,
    Box,
    arrange,
    labelled_marks,
    log_ticks,
    step_limits,
    tick_label,
    ticks,
    value_limits,
)
from darkit_nb.views.downsample import MAX_POINTS, downsample
from darkit_nb.views.heat import Heat
from darkit_nb.views.palette import DARK, LIGHT, Palette, channels

WIDTH = 960
HTML_POINTS = 300
"""Of each curve in a picture that a notebook file keeps: enough to see, few enough to keep the file small."""
_FONT = "font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"
_LETTER = 0.55
"""Mean width of a letter, in heights of the font."""
_LEGEND_ROW = 22
_STROKES = {
    "line": 'stroke-width="1.8"',
    "faint": 'stroke-width="1" stroke-opacity="0.35"',
    "dashed": 'stroke-width="1.5" stroke-dasharray="5 4"',
    "points": 'stroke-width="1.2"',
}


def chart_svg(
    chart: Chart, *, width: int = WIDTH, columns: int | None = None, dark: bool = False, points: int = MAX_POINTS
) -> str:
    """Draw a chart.

    Args:
        chart: what to draw.
        width: in pixels; the height follows.
        columns: panels side by side; by the width if not given.
        dark: light letters on a dark ground. The ground is drawn, so either is readable on any page.
        points: drawn of each curve at most.
    """
    colours = DARK if dark else LIGHT
    boxes, height = arrange(len(chart.panels), width, columns or (2 if width >= 640 else 1))
    lowest = max((box.bottom for box in boxes), default=0.0)
    head = list(_run_legend(chart, colours, width)) if len(chart.runs) > 1 else []
    shift = _LEGEND_ROW * len(head) + (8 if head else 0)
    body = [
        part
        for number, (panel, box) in enumerate(zip(chart.panels, boxes, strict=True))
        for part in _Drawing(chart, panel, box, colours, number, points, box.bottom == lowest).parts()
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + shift:.0f}" width="{width}" '
            f'height="{height + shift:.0f}" style="{_FONT};font-size:11px" role="img">',
            f"<title>{escape(', '.join(chart.runs) or 'No run')}</title>",
            f'<rect width="100%" height="100%" rx="8" fill="{colours.surface}"/>',
            *head,
            f'<g transform="translate(0 {shift})">',
            *body,
            "</g></svg>",
        ]
    )


def chart_html(chart: Chart, *, width: int = WIDTH, dark: bool = False) -> str:
    """The picture as an image that carries its data with it, safe in any page."""
    data = base64.b64encode(chart_svg(chart, width=width, dark=dark, points=HTML_POINTS).encode()).decode()
    told = escape(f"Charts of {', '.join(chart.runs)}", quote=True)
    return f'<img alt="{told}" style="max-width:100%" src="data:image/svg+xml;base64,{data}">'


def _run_legend(chart: Chart, colours: Palette, width: float) -> Iterator[str]:
    """Names of the runs above all panels, in as many rows as they need."""
    row: list[str] = []
    x, number = 16.0, 0
    for index, name in enumerate(chart.runs):
        wide = 34 + len(name) * 12 * _LETTER
        if row and x + wide > width:
            yield "".join(row)
            row, x, number = [], 16.0, number + 1
        y = 8 + _LEGEND_ROW * number + 11
        row.append(
            f'<rect x="{x:.1f}" y="{y - 2}" width="16" height="4" rx="2" fill="{colours.colour(index)}"/>'
            f'<text x="{x + 22:.1f}" y="{y + 4}" font-size="12" fill="{colours.text}">{escape(name)}</text>'
        )
        x += wide
    yield "".join(row)


class _Drawing:
    """One panel."""

    def __init__(
        self, chart: Chart, panel: Panel, box: Box, colours: Palette, number: int, points: int, last_row: bool
    ) -> None:
        self.chart, self.panel, self.box, self.colours = chart, panel, box, colours
        self.number, self.points, self.last_row = number, points, last_row
        self.title = panel.title_for(box.width)
        self.x0, self.x1 = step_limits(chart)
        self.y0, self.y1 = value_limits(panel)

    def parts(self) -> Iterator[str]:
        """Everything from back to front."""
        box, c = self.box, self.colours
        unit = (
            f' <tspan fill="{c.muted}" font-weight="400">{escape(self.panel.unit)}</tspan>' if self.panel.unit else ""
        )
        yield (
            f'<text x="{box.left}" y="{box.top - 10}" font-size="12.5" font-weight="600" fill="{c.text}">'
            f"{escape(self.title)}{unit}</text>"
        )
        yield from self._step_axis()
        if self.panel.heat is not None:
            yield from self._heat(self.panel.heat)
            return
        yield from self._value_axis()
        clip = f"clip{self.number}"
        yield (
            f'<clipPath id="{clip}"><rect x="{box.left - 4}" y="{box.top - 4}" width="{box.width + 8}" '
            f'height="{box.height + 8}"/></clipPath><g clip-path="url(#{clip})">'
        )
        yield from self._marks()
        for line in self.panel.lines:
            yield from self._line(line)
        yield "</g>"
        yield from self._legend()
        if not any(len(line.x) for line in self.panel.lines):
            yield self._nothing()

    # -- axes --------------------------------------------------------------------------------------------------------

    def _px(self, steps: NDArray[np.generic] | float) -> NDArray[np.float64]:
        return self.box.left + (np.asarray(steps, float) - self.x0) / (self.x1 - self.x0) * self.box.width

    def _py(self, values: NDArray[np.generic] | float) -> NDArray[np.float64]:
        y = np.asarray(values, float)
        if self.panel.log:
            y = np.log10(np.where(y > 0, y, np.nan))
        return self.box.bottom - (y - self.y0) / (self.y1 - self.y0) * self.box.height

    def _label(self, x: float, y: float, text: str, anchor: str = "start", colour: str | None = None) -> str:
        fill = colour or self.colours.muted
        return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}">{escape(text)}</text>'

    def _nothing(self) -> str:
        box = self.box
        return self._label(box.left + box.width / 2, box.top + box.height / 2, "nothing measured yet", "middle")

    def _step_axis(self) -> Iterator[str]:
        box = self.box
        yield f'<path d="M{box.left} {box.bottom}H{box.right}" stroke="{self.colours.line}"/>'
        found = ticks(self.x0, self.x1, max(2, int(box.width / 80)))
        for value in found:
            if value == int(value):
                yield self._label(float(self._px(value)), box.bottom + TICKS - 5, tick_label(value, found), "middle")
        if self.last_row:
            yield self._label(box.left + box.width / 2, box.bottom + TICKS + 9, "step", "middle")

    def _value_axis(self) -> Iterator[str]:
        about = max(3, int(self.box.height / 30))
        found = (log_ticks if self.panel.log else ticks)(self.y0, self.y1, about)
        for value in found:
            y = float(self._py(value))
            yield f'<path d="M{self.box.left} {y:.1f}H{self.box.right}" stroke="{self.colours.line}"/>'
            yield self._label(self.box.left - 7, y + 4, tick_label(value, found), "end")

    # -- contents ----------------------------------------------------------------------------------------------------

    def _line(self, line: Line) -> Iterator[str]:
        colour = self.colours.colour(line.colour)
        drawn = downsample(line.y, self.points)
        x, y = self._px(line.x[drawn]), self._py(line.y[drawn])
        if path := _path(x, y):
            yield f'<path d="{path}" fill="none" stroke="{colour}" stroke-linejoin="round" {_STROKES[line.style]}/>'
        alone = len(x) == 1 and line.style != "faint"
        if line.style == "points" or alone:
            for cx, cy in zip(x, y, strict=True):
                if math.isfinite(cy):
                    yield (
                        f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="3" fill="{self.colours.surface}" '
                        f'stroke="{colour}" stroke-width="1.6"/>'
                    )

    def _marks(self) -> Iterator[str]:
        box, c = self.box, self.colours
        for mark in self.chart.marks:
            if not self.x0 <= mark.step <= self.x1:
                continue
            x = float(self._px(mark.step))
            colour = c.muted if len(self.chart.runs) == 1 else c.colour(mark.run)
            told = f"<title>{escape(mark.text)}</title>"
            if mark.kind != "checkpoint":
                look = f'stroke="{colour}" stroke-dasharray="{"2 3" if mark.kind == "resume" else "6 3"}"'
                yield f'<path d="M{x:.1f} {box.top}V{box.bottom}" {look}>{told}</path>'
            elif self.panel.key == "loss":
                yield f'<path d="M{x:.1f} {box.bottom - 6}l4 6h-8z" fill="{colour}">{told}</path>'
        for mark in labelled_marks(self.chart, box.width) if self.panel.key == "loss" else ():
            yield self._label(float(self._px(mark.step)) + 3, box.top + 8, mark.label)

    def _heat(self, heat: Heat) -> Iterator[str]:
        box, (low, high) = self.box, heat.limits
        if not len(heat.x):
            yield self._nothing()
            return
        tall = box.height / len(heat.rows)
        yield (
            f'<image x="{box.left}" y="{box.top}" width="{box.width}" height="{box.height}" '
            f'preserveAspectRatio="none" style="image-rendering:pixelated" href="{self._cells(heat)}"/>'
        )
        for name, first, count in heat.groups:
            middle = box.top + (first + count / 2) * tall
            yield self._label(box.left - 7, middle + 4, short_role(name), "end")
            if first:
                y = box.top + first * tall
                yield f'<path d="M{box.left} {y:.1f}H{box.right}" stroke="{self.colours.surface}" stroke-width="1.5"/>'
        yield from self._scale(f"{low:g} %", f"{high:g} %", self.colours.along)

    def _cells(self, heat: Heat) -> str:
        """The map as a small PNG: one pixel high per row; across, the measurement that is nearest to each pixel."""
        from PIL import Image

        low, high = heat.limits
        steps = self.x0 + (np.arange(int(self.box.width)) + 0.5) / int(self.box.width) * (self.x1 - self.x0)
        nearest = np.searchsorted((heat.x[1:] + heat.x[:-1]) / 2, steps)
        shares = (heat.z - low) / (high - low)
        table = np.array(
            [channels(self.colours.along(level / 255)) for level in range(256)] + [channels(self.colours.surface)]
        )
        levels = np.where(np.isfinite(shares), np.nan_to_num(255 * shares).clip(0, 255), 256).round().astype(int)
        file = io.BytesIO()
        Image.fromarray(table[levels[:, nearest]].astype(np.uint8)).save(file, "PNG", optimize=True)
        return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"

    def _scale(self, low: str, high: str, colour: Callable[[float], str]) -> Iterator[str]:
        """The colours from low to high, at the right of the title."""
        box, wide, name = self.box, 90.0, f"scale{self.number}"
        right = box.right - len(high) * 11 * _LETTER - 6
        stops = "".join(f'<stop offset="{i / 6:.3f}" stop-color="{colour(i / 6)}"/>' for i in range(7))
        yield f'<linearGradient id="{name}">{stops}</linearGradient>'
        yield f'<rect x="{right - wide:.1f}" y="{box.top - 18}" width="{wide}" height="8" rx="2" fill="url(#{name})"/>'
        yield self._label(right - wide - 6, box.top - 10, low, "end")
        yield self._label(right + 6, box.top - 10, high)

    def _legend(self) -> Iterator[str]:
        """Names of the curves at the right of the title, where one run shows several of them."""
        shown = [line for line in self.panel.lines if len(line.x)]
        if len(self.chart.runs) > 1 or len(shown) < 2:
            return
        if isinstance(shown[0].colour, float):
            yield from self._scale("first layer", "last", self.colours.colour)
            return
        title = len(self.title + self.panel.unit) * 12.5 * _LETTER
        x = self.box.right
        for line in reversed(shown):
            x -= len(line.name) * 11 * _LETTER
            if x - 22 < self.box.left + title:
                return
            yield self._label(x, self.box.top - 10, line.name)
            dash = {"dashed": ' stroke-dasharray="4 2"', "faint": ' stroke-opacity="0.35"'}.get(line.style, "")
            colour = self.colours.colour(line.colour)
            yield f'<path d="M{x - 18:.1f} {self.box.top - 14}h13" stroke="{colour}" stroke-width="2"{dash}/>'
            x -= 28


def short_role(role: str) -> str:
    """The last part of a layer's role, short enough to stand beside an axis."""
    name = role.rpartition(".")[2].removesuffix("_proj")
    return name if len(name) <= 9 else name[:8] + "…"


def _path(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    """Lines through the points, lifted where a value is missing; a single point between gaps becomes a dot."""
    parts, drawing = [], False
    for px, py in zip(x.tolist(), y.tolist(), strict=True):
        if not math.isfinite(py):
            drawing = False
            continue
        parts.append(f"{'L' if drawing else 'M'}{px:.1f} {py:.1f}")
        if not drawing:
            parts.append("h0")
        drawing = True
    return "".join(parts)
