"""Rows as pictures: dots with whiskers on a logarithmic axis, one SVG readable on a light and on a dark page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from darkit_nb.views.palette import DARK, LIGHT, Palette

WIDTH, LEFT, RIGHT, LINE, HEAD = 860, 250, 90, 22, 26
_FONT = "font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;font-size:12px"


@dataclass(frozen=True)
class Dot:
    """One rival: its median, and the whisker from the 10th to the 90th percentile."""

    name: str
    median: float
    p10: float
    p90: float


@dataclass(frozen=True)
class Group:
    """Rivals that do the same work."""

    title: str
    dots: Sequence[Dot]


def dot_plot(title: str, unit: str, groups: Sequence[Group]) -> str:
    """Draw groups below one another on one axis.

    Args:
        title: for readers who hear the picture.
        unit: of the axis.
        groups: in order; a rival has the same colour in all of them.
    """
    names = list(dict.fromkeys(dot.name for group in groups for dot in group.dots))
    values = [value for group in groups for dot in group.dots for value in (dot.p10, dot.p90) if value > 0]
    low, high = math.log10(min(values)), math.log10(max(values))
    margin = 0.05 * max(high - low, 0.3)
    low, high = low - margin, high + margin

    def place(value: float) -> float:
        return LEFT + (math.log10(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    height = sum(HEAD + LINE * len(group.dots) for group in groups) + 56
    parts = [
        f'<line class="grid" x1="{place(tick):.1f}" x2="{place(tick):.1f}" y1="8" y2="{height - 46}"/>'
        f'<text class="muted" x="{place(tick):.1f}" y="{height - 30}" text-anchor="middle">{_number(tick)}</text>'
        for tick in _ticks(low, high)
    ]
    y = 8.0
    for group in groups:
        y += HEAD
        parts.append(f'<text class="head" x="8" y="{y - 8:.0f}">{escape(group.title)}</text>')
        for dot in group.dots:
            parts.append(_line(dot, y, place, names.index(dot.name)))
            y += LINE
    parts.append(f'<text class="muted" x="{WIDTH - 8}" y="{height - 12}" text-anchor="end">{escape(unit)}</text>')
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" style="{_FONT}">',
            f"<title>{escape(title)}</title>",
            f"<style>{_style(LIGHT)}@media(prefers-color-scheme:dark){{{_style(DARK)}}}</style>",
            '<rect class="ground" width="100%" height="100%" rx="8"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _line(dot: Dot, y: float, place: Callable[[float], float], colour: int) -> str:

    middle, begin, end = (place(value) for value in (dot.median, dot.p10, dot.p90))
    kind = f"c{colour % len(LIGHT.slots)}"
    centre = y + LINE / 2 - 4
    return (
        f'<text x="{LEFT - 12}" y="{y + 11:.0f}" text-anchor="end">{escape(dot.name)}</text>'
        f'<line class="{kind}" x1="{begin:.1f}" x2="{end:.1f}" y1="{centre:.0f}" y2="{centre:.0f}" stroke-width="2"/>'
        f'<circle class="{kind}" cx="{middle:.1f}" cy="{centre:.0f}" r="5"/>'
        f'<text class="muted" x="{max(end, middle) + 10:.1f}" y="{y + 11:.0f}">{_number(dot.median)}</text>'
    )


def _ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 and their powers of ten, or powers of ten alone where there are many."""
    decades = range(math.floor(low), math.ceil(high) + 1)
    steps = (1, 2, 5) if high - low < 2.2 else (1,)
    return [step * 10.0**decade for decade in decades for step in steps if low <= math.log10(step) + decade <= high]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _style(colours: Palette) -> str:
    slots = "".join(f".c{index}{{stroke:{colour};fill:{colour}}}" for index, colour in enumerate(colours.slots))
    return (
        f"text{{fill:{colours.text}}}.muted{{fill:{colours.muted}}}.head{{font-weight:600}}"
        f".grid{{stroke:{colours.line}}}.ground{{fill:{colours.surface}}}{slots}"
    )
