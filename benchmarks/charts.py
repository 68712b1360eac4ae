"""A push of the live charts with a million measurements behind them, against a plain `FigureWidget` given them all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from plotly.graph_objects import FigureWidget

from benchmarks.harness import compare
from darkit_nb.config import RunConfig
from darkit_nb.runs import Run, RunDirectory
from darkit_nb.widgets.chart_figure import ChartFigure
from darkit_nb.widgets.live_charts import LiveCharts

SERIES = ("loss", "learning_rate", "tokens_per_s", "memory_bytes")


class _Wire:
    """Bytes and points that a figure sends to its page; a number in a list counts as 8 bytes, and is more as text."""

    def __init__(self) -> None:
        self.sent = 0
        self.points = 0

    def listen(self, kind: type, name: str) -> None:
        """Count what passes through a method of this kind of figure."""
        send = getattr(kind, name)

        def heard(figure: Any, message: dict[str, Any], buffers: Any = None) -> None:
            sizes = [memoryview(buffer).nbytes for buffer in buffers or ()]
            lists = [len(each) for each in _lists(message)]
            self.sent += sum(sizes) + 8 * sum(lists)
            self.points = max([self.points, *lists, *(size // 4 for size in sizes)])
            send(figure, message, buffers)

        setattr(kind, name, heard)


def _lists(state: Any) -> Iterator[list[Any]]:
    """Lists of numbers anywhere in a message."""
    entries = state.values() if isinstance(state, dict) else state if isinstance(state, list) else ()
    if isinstance(state, list) and state and isinstance(state[0], int | float):
        yield state
        return
    for entry in entries:
        yield from _lists(entry)


def _charts(folder: Path, steps: int) -> tuple[LiveCharts, Iterator[None]]:
    """Charts of a run with a history of so many steps, and what makes it one step longer."""
    run = RunDirectory.create(RunConfig().replace({"runs_dir": str(folder)}), command="benchmark")
    run.begin_attempt()
    run.append_metrics({"kind": "train", "step": 0, "loss": 5.0})
    run.write_status(state="finished")
    charts = LiveCharts(Run(run))
    while not len(charts._sources[0].history):
        pass
    history, random = charts._sources[0].history, np.random.default_rng(0)

    def grow() -> Iterator[None]:
        for step in count(1):
            values = dict(zip(SERIES, (2 + random.normal(), 1e-3, 8e3 + random.normal(), 9e8), strict=True))
            history.extend([{"kind": "train", "step": step, **values}])
            yield

    growth = grow()
    for _ in range(steps):
        next(growth)
    return charts, growth


def run(quick: bool) -> Iterator[dict]:
    """One row per length of history."""
    for steps in (10_000,) if quick else (10_000, 1_000_000):
        with tempfile.TemporaryDirectory() as folder:
            yield from _row(Path(folder), steps, rounds=3 if quick else 6)


def _row(folder: Path, steps: int, rounds: int) -> Iterator[dict]:
    charts, growth = _charts(folder, steps)
    ours, plain_wire = _Wire(), _Wire()
    ours.listen(ChartFigure, "send")

    class Plain(FigureWidget):
        """The rival: every update resends all points as lists."""

    plain_wire.listen(Plain, "_send")
    plain = Plain([{"type": "scatter"} for _ in SERIES])
    history = charts._sources[0].history

    def push() -> float:
        next(growth)
        charts.update()
        return float(charts.figure.traces[0]["x"][-1])

    def resend() -> float:
        series = [history.series("train", name) for name in SERIES]
        with plain.batch_update():
            for trace, (x, y) in zip(plain.data, series, strict=True):
                trace.x, trace.y = x.tolist(), y.tolist()
        return float(plain.data[0].x[-1])

    def agree(last: Mapping[str, Any]) -> None:
        assert last["LiveCharts"] in (steps, steps + 1), last
        assert last["LiveCharts"] == last["FigureWidget, lists"], last

    row = compare({"LiveCharts": push, "FigureWidget, lists": resend}, agree=agree, rounds=rounds, warm_up=1)
    pushes = rounds + 2
    yield {
        "operation": "push",
        "steps": steps,
        "series": len(SERIES),
        "bytes_per_push": {"LiveCharts": ours.sent // pushes, "FigureWidget, lists": plain_wire.sent // pushes},
        "points_per_trace": {"LiveCharts": ours.points, "FigureWidget, lists": plain_wire.points},
        **row,
    }
    charts.close()
