"""Quality against operations: every converted model a point, the float model a line to look down to."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

from darkit_nb.records.conversion_result import DENSE_ACE, ConversionRow
from darkit_nb.records.energy import SPIKING_READING
from darkit_nb.views.chart_layout import Box, log_ticks, tick_label, ticks
from darkit_nb.views.numbers import significant
from darkit_nb.views.palette import DARK, LIGHT, Palette
from darkit_nb.views.table import TableView

Operations = Literal["ace", "mean_steps", "storage_bits", "energy_pj"]

AXES: dict[Operations, str] = {
    "ace": "ACE, the effort of a product: weight bits × step bits × steps",
    "mean_steps": "spike steps of an activation",
    "storage_bits": "stored bits of a weight",
    "energy_pj": "energy of a token in unit events, pJ",
}
_LETTER = 6.0


@dataclass(frozen=True, kw_only=True)
class Point:
    """One converted model.

    Attributes:
        name: pipeline and bits.
        x: operations.
        perplexity: on the held-out text.
        low, high: perplexities at the ends of the 95 % interval of Δ bits per byte; NaN where there is none.
        delta: bits per byte lost to the float model; None where it was not scored on the same windows.
    """

    name: str
    x: float
    perplexity: float
    low: float
    high: float
    delta: float | None


@dataclass(frozen=True)
class PointChart:
    """Perplexity against operations.

    Attributes:
        points: converted models, cheapest first.
        axis: what `x` counts.
        float_perplexity: of the model they come from, where it was scored.
    """

    points: tuple[Point, ...]
    axis: Operations
    float_perplexity: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON and widgets; numbers that are not finite are null."""
        points = [
            {"name": p.name, **{key: _number(getattr(p, key)) for key in ("x", "perplexity", "low", "high", "delta")}}
            for p in self.points
        ]
        return {
            "points": points,
            "axis": self.axis,
            "axis_title": AXES[self.axis],
            "float_perplexity": self.float_perplexity,
        }

    def to_text(self, width: int = 80) -> str:
        """The same as a table."""
        rows = tuple(
            (p.name, significant(p.x, 4), significant(p.perplexity, 4), "–" if p.delta is None else f"{p.delta:+.4f}")
            for p in self.points
        )
        base = self.float_perplexity
        notes = () if base is None else (f"The float model: {significant(base, 4)}.",)
        title = f"Perplexity against {AXES[self.axis]}"
        return TableView(title, ("model", self.axis, "perplexity", "Δ bits/byte"), rows, notes).to_text(width)

    def to_svg(self, *, width: int = 640, height: int = 340, dark: bool = False) -> str:
        """A picture that needs nothing else."""
        return "\n".join(_Picture(self, width, height, DARK if dark else LIGHT).parts())

    def to_html(self, *, width: int = 640, dark: bool = False) -> str:
        """The picture as an image that carries its data with it, safe in any page."""
        data = base64.b64encode(self.to_svg(width=width, dark=dark).encode()).decode()
        return (
            f'<img alt="Perplexity against operations" style="max-width:100%" src="data:image/svg+xml;base64,{data}">'
        )

    def _repr_html_(self) -> str:
        return self.to_html()

    def __repr__(self) -> str:
        return self.to_text()


def operation_points(rows: Sequence[ConversionRow], axis: Operations = "ace") -> PointChart:
    """Points of the converted models among `rows`; those without that count are left out.

    Args:
        rows: float and converted models that were scored on the same text.
        axis: what is counted.
    """
    points = [point for row in rows if (point := _point(row, axis)) is not None]
    floats = [row.losses.perplexity for row in rows if row.cost is None]
    return PointChart(tuple(sorted(points, key=lambda point: point.x)), axis, floats[0] if floats else None)


def _point(row: ConversionRow, axis: Operations) -> Point | None:
    if row.cost is None:
        return None
    if axis == "energy_pj":
        x = None if row.cost.energy is None else row.cost.energy.reading(SPIKING_READING).total_pj
    else:
        x = getattr(row.cost, axis)
    if x is None or not math.isfinite(row.losses.perplexity):
        return None
    delta, to_nats = row.delta, math.log(2) * row.losses.bytes_per_token

    def at(bits: float) -> float:
        """Perplexity where Δ were that, the float model's own staying."""
        return math.nan if delta is None else math.exp(row.losses.loss + (bits - delta.delta) * to_nats)

    low, high = (math.nan, math.nan) if delta is None else (at(delta.low), at(delta.high))
    return Point(
        name=row.name,
        x=float(x),
        perplexity=row.losses.perplexity,
        low=low,
        high=high,
        delta=None if delta is None else delta.delta,
    )


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


class _Picture:
    """The chart in pixels."""

    def __init__(self, chart: PointChart, width: int, height: int, colours: Palette) -> None:
        self.chart, self.width, self.height, self.c = chart, width, height, colours
        self.box = Box(64.0, 34.0, width - 64 - 24, height - 34 - 48)
        heights = [v for p in chart.points for v in (p.perplexity, p.low, p.high) if math.isfinite(v)]
        heights += [] if chart.float_perplexity is None else [chart.float_perplexity]
        low, high = (min(heights), max(heights)) if heights else (1.0, 10.0)
        room = max(0.02, 0.06 * math.log10(high / low)) if high > low else 0.1
        self.y0, self.y1 = math.log10(low) - room, math.log10(high) + room
        across = [p.x for p in chart.points] or [0.0, DENSE_ACE]
        left, right = min(across), max(across)
        spare = 0.08 * (right - left) or 0.1 * abs(right) or 1.0
        self.x0, self.x1 = left - spare, right + spare

    def parts(self) -> list[str]:
        """Lines of the SVG, back to front."""
        c, box = self.c, self.box
        return [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" width="{self.width}" '
            f'height="{self.height}" style="font-family:system-ui,sans-serif;font-size:11px" role="img">',
            "<title>Perplexity against operations</title>",
            f'<rect width="100%" height="100%" rx="8" fill="{c.surface}"/>',
            self._text(box.left, 20, "perplexity", colour=c.text),
            *self._axes(),
            *self._float_line(),
            *self._points(),
            "</svg>",
        ]

    def _px(self, x: float) -> float:
        return self.box.left + (x - self.x0) / (self.x1 - self.x0) * self.box.width

    def _py(self, perplexity: float) -> float:
        return self.box.bottom - (math.log10(perplexity) - self.y0) / (self.y1 - self.y0) * self.box.height

    def _text(self, x: float, y: float, text: str, anchor: str = "start", colour: str | None = None) -> str:
        fill = colour or self.c.muted
        return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}">{escape(text)}</text>'

    def _axes(self) -> list[str]:
        box, lines = self.box, []
        for value in log_ticks(self.y0, self.y1, 6):
            y = self._py(value)
            lines.append(f'<path d="M{box.left} {y:.1f}H{box.right}" stroke="{self.c.line}"/>')
            lines.append(self._text(box.left - 7, y + 4, significant(value, 3), "end"))
        across = ticks(self.x0, self.x1, max(3, int(box.width / 90)))
        for value in across:
            lines.append(self._text(self._px(value), box.bottom + 16, tick_label(value, across), "middle"))
        lines.append(f'<path d="M{box.left} {box.bottom}H{box.right}" stroke="{self.c.muted}"/>')
        title = AXES[self.chart.axis]
        lines.append(self._text(box.left + box.width / 2, box.bottom + 36, title, "middle"))
        return lines

    def _float_line(self) -> list[str]:
        base = self.chart.float_perplexity
        if base is None:
            return []
        y, box = self._py(base), self.box
        return [
            f'<path d="M{box.left} {y:.1f}H{box.right}" stroke="{self.c.muted}" stroke-dasharray="5 4"/>',
            self._text(box.right, y - 5, f"float {significant(base, 4)}", "end"),
        ]

    def _points(self) -> list[str]:
        lines, taken = [], list[tuple[float, float]]()
        for index, point in enumerate(self.chart.points):
            x, y, colour = self._px(point.x), self._py(point.perplexity), self.c.colour(index)
            if math.isfinite(point.low) and math.isfinite(point.high):
                top, bottom = self._py(point.high), self._py(point.low)
                lines.append(f'<path d="M{x:.1f} {top:.1f}V{bottom:.1f}" stroke="{colour}" stroke-width="1.4"/>')
            lines.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"><title>{escape(point.name)}: '
                f"{significant(point.perplexity, 4)}</title></circle>"
            )
            beside = y + 4
            while any(abs(beside - other) < 12 and abs(x - where) < 150 for where, other in taken):
                beside -= 12
            taken.append((x, beside))
            left = x + 9 + _LETTER * len(point.name) > self.box.right
            lines.append(
                self._text(x - 9 if left else x + 9, beside, point.name, "end" if left else "start", self.c.text)
            )
        return lines
