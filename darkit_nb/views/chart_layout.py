"""Where the panels of a chart lie, how far their axes reach, and which numbers stand at them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from darkit_nb.views.chart import Chart, Mark, Panel

HEADER, TICKS, LEFT, RIGHT, BOTTOM = 34, 20, 56, 18, 14
TALL, SHORT, NARROW = 230, 120, 150
LETTER = 5.4
"""Mean width of a letter of a label, in pixels."""


@dataclass(frozen=True)
class Box:
    """The inside of one panel's axes, in pixels from the top left corner of the whole."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Lower edge."""
        return self.top + self.height


def arrange(panels: int, width: float, columns: int) -> tuple[tuple[Box, ...], float]:
    """Boxes in reading order, and the height of the whole. The first row is taller when there are several columns."""
    each = width / columns
    boxes: list[Box] = []
    top = 0.0
    for start in range(0, panels, columns):
        height = NARROW if columns == 1 else TALL if start == 0 else SHORT
        for column in range(min(columns, panels - start)):
            boxes.append(Box(column * each + LEFT, top + HEADER, each - LEFT - RIGHT, height))
        top += HEADER + height + TICKS
    return tuple(boxes), top + BOTTOM


def labelled_marks(chart: Chart, width: float) -> list[Mark]:
    """Marks whose label has room in a panel of that many pixels: none for several runs, none upon another."""
    low, high = step_limits(chart)
    found: list[Mark] = []
    free = -math.inf
    for mark in sorted(chart.marks, key=lambda mark: mark.step) if len(chart.runs) == 1 else ():
        x = (mark.step - low) / (high - low) * width
        needed = LETTER * len(mark.label) + 6
        if mark.label and max(0.0, free) <= x <= width - needed:
            found.append(mark)
            free = x + needed
    return found


def step_limits(chart: Chart) -> tuple[float, float]:
    """First and last step of all panels, or those the chart is restricted to."""
    steps = [line.x[[0, -1]] for panel in chart.panels for line in panel.lines if len(line.x)]
    steps += [panel.heat.x[[0, -1]] for panel in chart.panels if panel.heat is not None and len(panel.heat.x)]
    low, high = (float(min(s[0] for s in steps)), float(max(s[1] for s in steps))) if steps else (0.0, 1.0)
    low = low if chart.limits[0] is None else chart.limits[0]
    high = high if chart.limits[1] is None else chart.limits[1]
    return low, high if high > low else low + 1


def value_limits(panel: Panel) -> tuple[float, float]:
    """Lowest and highest value to draw, with a little room; in powers of ten where the axis is logarithmic."""
    arrays = [line.y[np.isfinite(line.y)] for line in panel.lines]
    if panel.log:
        arrays = [np.log10(y[y > 0]) for y in arrays]
    values = np.concatenate(arrays) if arrays else np.empty(0)
    if not values.size:
        return (0.0, 1.0)
    low, high = float(values.min()), float(values.max())
    if panel.zero and not panel.log:
        low, high = min(0.0, low), max(0.0, high)
    room = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return (low if panel.zero and low == 0 else low - room), high + room


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers between two limits, 1, 2 or 5 times a power of ten apart, roughly `about` of them."""
    span = (high - low) / max(1, about)
    size = 10.0 ** math.floor(math.log10(span))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= span * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [step * index for index in range(first, last + 1)]


def log_ticks(low: float, high: float, about: int) -> list[float]:
    """Numbers to write at a logarithmic axis between 10^low and 10^high."""
    for factors in ((1.0,), (1.0, 2.0, 5.0)):
        found = [f * 10.0**p for p in range(math.floor(low), math.ceil(high) + 1) for f in factors]
        found = [value for value in found if low <= math.log10(value) <= high]
        if len(found) >= 3:
            return found[:: max(1, -(-len(found) // (2 * about)))]
    return ticks(10.0**low, 10.0**high, about)


def tick_label(value: float, all_values: Sequence[float]) -> str:
    """A number at an axis, with as many digits as its neighbours need."""
    top = max(map(abs, all_values), default=0.0)
    if value == 0 or top == 0:
        return "0"
    step = min((abs(b - a) for a, b in pairwise(all_values)), default=abs(value))
    size, suffix = next(((s, t) for s, t in ((1e9, " G"), (1e6, " M"), (1e4, " k")) if top >= s), (1.0, ""))
    size = 1e3 if suffix == " k" else size
    if top < 1e-3:
        digits = max(0, math.floor(math.log10(abs(value))) - math.floor(math.log10(step) + 1e-9))
        mantissa, _, exponent = f"{value:.{digits}e}".partition("e")
        return f"{mantissa}e{int(exponent)}".replace("-", "−")
    decimals = max(0, -math.floor(math.log10(step / size) + 1e-9))
    return f"{value / size:.{decimals}f}{suffix}".replace("-", "−")
