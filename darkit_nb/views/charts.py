"""The course of one or several runs as a chart: which curves there are, and which of their points are drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from darkit_nb.runs.history import RunHistory
from darkit_nb.views.chart import QUIET, Chart, Line, Mark, Panel, Style
from darkit_nb.views.downsample import Sampled, Smoothed, visible
from darkit_nb.views.edit_marks import EditMark
from darkit_nb.views.heat import layer_heat

MANY_LAYERS = 12
"""More layers than this are a heat map: so many lines cannot be told apart."""
SPAN = 10
"""Steps that a smoothed value looks back over, unless asked otherwise."""
RAW_RUNS = 3
"""Beside more runs than this only smoothed curves are drawn."""


@dataclass(frozen=True, eq=False)
class ChartRun:
    """A run as far as charts need it.

    Attributes:
        key: its id.
        name: what people call it.
        history: its measurements.
        settings: those in which it differs from the runs beside it.
        checkpoints: steps of its checkpoints.
        edits: of its model.
    """

    key: str
    name: str
    history: RunHistory
    settings: Mapping[str, Any] = field(default_factory=dict)
    checkpoints: Sequence[int] = ()
    edits: Sequence[EditMark] = ()

    @property
    def label(self) -> str:
        """The name, and the settings in which it differs."""
        told = ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in self.settings.items())
        return f"{self.name} ({told})" if told else self.name


class ChartBuilder:
    """Makes charts of growing runs; what did not change since the last one is not computed again."""

    def __init__(self) -> None:
        self._known: _Known = {}

    def build(
        self,
        runs: Sequence[ChartRun],
        *,
        span: int = SPAN,
        log: bool = False,
        limits: tuple[float | None, float | None] = (None, None),
    ) -> Chart:
        """Describe the runs as they are now.

        Args:
            runs: one to look into, several to compare.
            span: steps a smoothed value looks back over, in the sense of an exponential average; 1 smooths nothing.
            log: whether the loss has a logarithmic axis.
            limits: first and last step to show; the points are spent there.
        """
        cut = _Cut(limits, span, self._known)
        panels = (
            Panel("loss", "Loss", "nats", _loss(runs, cut), log=log),
            _firing(runs, cut),
            _energy(runs, cut),
            Panel("throughput", "Throughput", "tokens/s", _noisy(runs, cut, "tokens_per_s"), number=",.4g", zero=True),
            Panel("learning_rate", "Learning rate", "", _plain(runs, cut, "learning_rate"), number=".3g", zero=True),
            _memory(runs, cut),
        )
        self._known = cut.used
        marks = tuple(mark for index, run in enumerate(runs) for mark in _marks(index, run, several=len(runs) > 1))
        return Chart(tuple(run.label for run in runs), panels, marks, limits)


_Known = dict[tuple[Any, ...], tuple[tuple[Any, ...], Any]]
_Points = tuple[NDArray[np.int64], NDArray[np.floating]]
Growing = TypeVar("Growing", Sampled, Smoothed)


class _Cut:
    """Series of runs, restricted to what is shown and to the points a curve may have.

    Args:
        limits: first and last step to show.
        span: of the smoothing.
        known: the growing averages and choices of the last chart.
    """

    def __init__(self, limits: tuple[float | None, float | None], span: int, known: _Known) -> None:
        self.limits, self.span, self.known = limits, span, known
        self.used: _Known = {}

    def series(self, run: ChartRun, kind: str, name: str) -> _Points:
        return self._points(run, (kind, name), *run.history.series(kind, name))

    def smoothed(self, run: ChartRun, name: str) -> _Points:
        steps, values = run.history.series("train", name)
        average = self._growing(run, ("smoothed", name, self.span), 0, lambda: Smoothed(1 - 2 / (self.span + 1)))
        return self._points(run, ("smoothed", name, self.span, "points"), steps, average.update(values))

    def layer(self, run: ChartRun, name: str, steps: NDArray[np.int64], values: NDArray[np.floating]) -> _Points:
        return self._points(run, ("layer", name), steps, values)

    def _points(
        self, run: ChartRun, what: tuple[Any, ...], steps: NDArray[np.int64], values: NDArray[np.floating]
    ) -> _Points:
        part = visible(steps, *self.limits)
        x, y = steps[part], values[part]
        chosen = self._growing(run, what, part.start, Sampled).update(y)
        return x[chosen], y[chosen]

    def _growing(self, run: ChartRun, what: tuple[Any, ...], start: int, make: Callable[[], Growing]) -> Growing:
        """What was made of this series before, as long as the series has only grown since."""
        state = (run.history, run.history.rewritten, start)
        before, found = self.known.get((run.key, *what), (None, None))
        if before != state:
            found = make()
        self.used[run.key, *what] = (state, found)
        return cast("Growing", found)


def _loss(runs: Sequence[ChartRun], cut: _Cut) -> tuple[Line, ...]:
    lines = list(_noisy(runs, cut, "loss"))
    for index, run in enumerate(runs):
        x, y = cut.series(run, "evaluation", "loss")
        colour = index if len(runs) > 1 else 1
        lines.append(Line(f"{index}/validation", "validation", index, colour, "points", x, y))
    return tuple(lines)


def _noisy(runs: Sequence[ChartRun], cut: _Cut, name: str) -> tuple[Line, ...]:
    """Raw values behind, their average in front."""
    raw = [
        Line(f"{index}/{name}", "each step", index, index, "faint", *cut.series(run, "train", name))
        for index, run in enumerate(runs if len(runs) <= RAW_RUNS else ())
    ]
    smooth = [
        Line(f"{index}/{name}/smoothed", "smoothed", index, index, "line", *cut.smoothed(run, name))
        for index, run in enumerate(runs)
    ]
    return (*raw, *smooth)


def _plain(runs: Sequence[ChartRun], cut: _Cut, name: str, scale: float = 1.0) -> tuple[Line, ...]:
    lines = []
    for index, run in enumerate(runs):
        x, y = cut.series(run, "train", name)
        lines.append(Line(f"{index}/{name}", run.name, index, index, "line", x, y / scale))
    return tuple(lines)


def _firing(runs: Sequence[ChartRun], cut: _Cut) -> Panel:
    title = "Firing rate"
    if len(runs) != 1:
        lines = []
        for index, run in enumerate(runs):
            x, y = cut.series(run, "spikes", "firing_rate")
            lines.append(Line(f"{index}/firing_rate", run.name, index, index, "line", x, 100 * y))
        return Panel("firing", f"{title}, all layers", "%", tuple(lines), number=".3g")
    steps, names, rates = runs[0].history.layers("firing_rate")
    if len(names) > MANY_LAYERS:
        part = visible(steps, *cut.limits)
        return Panel(
            "firing",
            f"{title} of {len(names)} layers",
            "%",
            heat=layer_heat(names, steps[part], rates[part]),
            short=title,
        )
    lines = []
    for index, name in enumerate(names):
        x, y = cut.layer(runs[0], name, steps, 100 * rates[:, index])
        lines.append(Line(f"0/{name}", name, 0, float(index / max(1, len(names) - 1)), "line", x, y))
    return Panel("firing", f"{title} by layer", "%", tuple(lines), number=".3g", short=title)


_READINGS: tuple[tuple[str, str, int, Style], ...] = (
    ("float16", "float16", QUIET, "dashed"),
    ("integer", "integer", QUIET, "line"),
    ("bitwise", "bits", 2, "line"),
    ("unary", "events", 1, "line"),
)


def _energy(runs: Sequence[ChartRun], cut: _Cut) -> Panel:
    readings = _READINGS if len(runs) == 1 else _READINGS[-1:]
    found = [
        (index, run, reading, *cut.series(run, "spikes", f"energy_pj.{reading[0]}"))
        for index, run in enumerate(runs)
        for reading in readings
    ]
    size, unit = _size([y for *_, y in found], ((1e9, "mJ"), (1e6, "µJ"), (1e3, "nJ")), (1.0, "pJ"))
    lines = []
    for index, run, (key, name, colour, style), x, y in found:
        alone = len(runs) == 1
        lines.append(
            Line(f"{index}/{key}", name if alone else run.name, index, colour if alone else index, style, x, y / size)
        )
    title = "Energy per token" if len(runs) == 1 else "Energy per token, spikes as events"
    return Panel("energy", title, unit, tuple(lines), number=".3g", zero=True, short="Energy")


def _memory(runs: Sequence[ChartRun], cut: _Cut) -> Panel:
    values = [run.history.series("train", "memory_bytes")[1][-1:] for run in runs]
    size, unit = _size(values, ((1e9, "GB"),), (1e6, "MB"))
    return Panel("memory", "Memory", unit, _plain(runs, cut, "memory_bytes", size), number=".3g", zero=True)


def _size(
    values: Sequence[NDArray[np.floating]], sizes: tuple[tuple[float, str], ...], least: tuple[float, str]
) -> tuple[float, str]:
    """The unit in which the largest value has digits before its point."""
    top = max((float(y[np.isfinite(y)].max(initial=0.0)) for y in values), default=0.0)
    return next(((size, unit) for size, unit in sizes if top >= size), least)


def _marks(index: int, run: ChartRun, *, several: bool) -> list[Mark]:
    who = f"{run.name}: " if several else ""
    resumes = [(step, attempt) for step, attempt in run.history.attempts if attempt > 1]
    return [
        *(Mark(step, "resume", f"{who}resumed, attempt {attempt}", index) for step, attempt in resumes),
        *(Mark(step, "checkpoint", f"{who}checkpoint {step}", index) for step in run.checkpoints),
        *(Mark(e.step, "revert" if e.out else "patch", f"{who}{e.text}", index, e.label) for e in run.edits),
    ]
