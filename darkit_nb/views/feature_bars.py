"""How far single features stand out: a bar for each, measured in the median one."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from statistics import median
from typing import Any

from darkit_nb.views.chart_layout import ticks
from darkit_nb.views.numbers import significant
from darkit_nb.views.palette import DARK, LIGHT, Palette

OUTLIER = 4.0
"""A feature of more than so many medians has the other colour."""

_BLOCKS = "▁▂▃▄▅▆▇█"
_HEAD, _PANEL, _FOOT, _LEFT, _RIGHT = 26, 96, 22, 46, 16


@dataclass(frozen=True)
class FeatureBars:
    """Bars of several layers, all on one scale.

    Attributes:
        panels: a name, and the size of every feature in medians of its panel.
    """

    panels: tuple[tuple[str, tuple[float, ...]], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"panels": [{"name": name, "medians": list(values)} for name, values in self.panels]}

    def to_text(self, width: int = 80) -> str:
        """A row of blocks for each panel; where several features share one, the largest counts."""
        top = max(max(values) for _, values in self.panels)
        lines = []
        for name, values in self.panels:
            lines.append(f"{name}: {_largest(values)}")
            lines.append("".join(_BLOCKS[min(7, int(8 * each / top))] for each in _merged(values, width)))
        return "\n".join(lines)

    def to_svg(self, *, width: int = 640, dark: bool = False) -> str:
        """A picture that needs nothing else."""
        c = DARK if dark else LIGHT
        height = len(self.panels) * (_HEAD + _PANEL) + _FOOT
        top = 1.06 * max(max(values) for _, values in self.panels)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            'style="font-family:system-ui,sans-serif;font-size:11px" role="img">',
            "<title>Size of every feature, in medians</title>",
            f'<rect width="100%" height="100%" rx="8" fill="{c.surface}"/>',
        ]
        for index, (name, values) in enumerate(self.panels):
            parts += _panel(name, values, top, index * (_HEAD + _PANEL) + _HEAD, width, c)
        parts.append(
            _text(width / 2, height - 6, "features, in their order; 1 is the median feature", c.muted, "middle")
        )
        return "\n".join([*parts, "</svg>"])

    def to_html(self, *, width: int = 640, dark: bool = False) -> str:
        """The picture as an image that carries its data with it, safe in any page."""
        data = base64.b64encode(self.to_svg(width=width, dark=dark).encode()).decode()
        told = escape("; ".join(f"{name}: {_largest(values)}" for name, values in self.panels), quote=True)
        return f'<img alt="{told}" style="max-width:100%" src="data:image/svg+xml;base64,{data}">'

    def _repr_html_(self) -> str:
        return self.to_html()

    def __repr__(self) -> str:
        return self.to_text()


def feature_bars(sizes: Mapping[str, Iterable[float]]) -> FeatureBars:
    """Bars of one or several layers.

    Args:
        sizes: by the name of a panel, how large each feature gets, such as its largest absolute value.
    """
    panels = []
    for name, given in sizes.items():
        values = [float(each) for each in given]
        middle = median(values) or 1.0
        panels.append((name, tuple(each / middle for each in values)))
    return FeatureBars(tuple(panels))


def _largest(values: tuple[float, ...]) -> str:
    return f"the largest of {len(values)} is {significant(max(values), 3)} × the median"


def _merged(values: tuple[float, ...], most: int) -> list[float]:
    """At most so many numbers: the largest of each group of neighbours."""
    step = -(-len(values) // most)
    return [max(values[start : start + step]) for start in range(0, len(values), step)]


def _panel(name: str, values: tuple[float, ...], top: float, y: float, width: int, c: Palette) -> list[str]:
    right, floor = width - _RIGHT, y + _PANEL - 8
    high = floor - y - 4
    parts = [_text(_LEFT, y - 8, name, c.text), _text(right, y - 8, _largest(values), c.muted, "end")]
    for value in ticks(0.0, top, 3):
        at = floor - value / top * high
        parts.append(f'<path d="M{_LEFT} {at:.1f}H{right}" stroke="{c.line}"/>')
        parts.append(_text(_LEFT - 6, at + 4, f"{value:g} ×", c.muted, "end"))
    bars = _merged(values, right - _LEFT)
    pitch = (right - _LEFT) / len(bars)
    for outlier, colour in ((False, c.slots[0]), (True, c.slots[1])):
        lines = [
            f"M{_LEFT + pitch * (index + 0.5):.1f} {floor:.1f}V{floor - each / top * high:.1f}"
            for index, each in enumerate(bars)
            if (each > OUTLIER) is outlier
        ]
        if lines:
            wide = max(1.0, 0.8 * pitch)
            parts.append(f'<path d="{"".join(lines)}" stroke="{colour}" stroke-width="{wide:.2f}" fill="none"/>')
    return parts


def _text(x: float, y: float, text: str, colour: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
