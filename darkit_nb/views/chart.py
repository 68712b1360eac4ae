"""What a chart shows, as plain data: panels, curves, a heat map, marks. Nothing in here draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from darkit_nb.views.heat import Heat

Style = Literal["line", "faint", "dashed", "points"]
MarkKind = Literal["resume", "checkpoint", "patch", "revert"]

ROOMY = 370
"""Pixels from which a panel has room for its whole title."""
QUIET = 7
"""Slot of the colour of what is only there to compare with."""


@dataclass(frozen=True, eq=False)
class Line:
    """One curve.

    Attributes:
        key: what it is, the same in every description of the same runs.
        name: in the legend.
        run: index into `Chart.runs`.
        colour: slot of the palette, or a share from 0 to 1 of the sequential scale.
        style: how it is drawn; "points" are marks joined by a thin line.
        x, y: steps and values; NaN is a gap.
    """

    key: str
    name: str
    run: int
    colour: int | float
    style: Style
    x: NDArray[np.int64]
    y: NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Panel:
    """One coordinate system: steps to the right, one quantity upwards.

    Attributes:
        key: stable name.
        title: what is shown.
        unit: of the values; empty for pure numbers.
        lines: curves, later ones on top.
        heat: a heat map in place of curves.
        number: format of a value, as in `format(value, number)`.
        log: whether the axis is logarithmic; values that are not positive are gaps then.
        zero: whether the axis begins at zero.
        short: the title where there is little room; the same if empty.
    """

    key: str
    title: str
    unit: str
    lines: tuple[Line, ...] = ()
    heat: Heat | None = None
    number: str = ".4g"
    log: bool = False
    zero: bool = False
    short: str = ""

    def title_for(self, width: float) -> str:
        """The title for a panel of that many pixels, something of which belongs to a legend or scale."""
        return self.short if self.short and width < ROOMY else self.title


@dataclass(frozen=True)
class Mark:
    """Something that happened at a step.

    Attributes:
        step: when.
        kind: what.
        text: the same in full.
        run: index into `Chart.runs`.
        label: a word or two that stand beside it where there is room.
    """

    step: int
    kind: MarkKind
    text: str
    run: int = 0
    label: str = ""


@dataclass(frozen=True)
class Chart:
    """Everything that is drawn.

    Attributes:
        runs: names, with the settings in which they differ.
        panels: in reading order.
        marks: resumes, checkpoints, edits put in and taken out.
        limits: first and last step shown, where restricted.
    """

    runs: tuple[str, ...]
    panels: tuple[Panel, ...]
    marks: tuple[Mark, ...] = ()
    limits: tuple[float | None, float | None] = (None, None)

    def panel(self, key: str) -> Panel:
        """The panel of that key; a KeyError where there is none."""
        return {panel.key: panel for panel in self.panels}[key]
