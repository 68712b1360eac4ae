"""Follow a run for a model tree: the tree of its model, and then how it fires, step by step."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from darkit_nb.records.trace import ModelTrace
from darkit_nb.runs import Run
from darkit_nb.runs.history import RunHistory
from darkit_nb.runs.metrics import Record
from darkit_nb.runs.monitor import RunMonitor
from darkit_nb.runs.requests import Request
from darkit_nb.runs.watched import RunChange
from darkit_nb.widgets.following import Following

MOST_POINTS = 200
"""Points of a line that shows how a module fired so far."""

_EDITS = ("patch", "revert")

_GONE = {
    "message": "The folder of this run is gone.",
    "cause": "it was deleted or moved",
    "fix": "what is shown stays; tree.follow(another_run) shows another one",
}


@dataclass(frozen=True)
class News:
    """What became known of a followed run; what is None is as it was.

    Attributes:
        pulse: the run's state, its step, and the step of the rates.
        trace: the tree of its model, once.
        rates: float32, one for each spiking row of the trace, NaN where it was not measured.
        problem: why there is no tree, or nothing new.
    """

    pulse: dict[str, Any]
    trace: ModelTrace | None = None
    rates: npt.NDArray[np.float32] | None = None
    problem: dict[str, Any] | None = None


class FollowedRun:
    """Asks a run for the trace of its model and watches what it measures. The model itself stays where it is trained.

    Args:
        run: the run.
        told: receives news, on a thread of the monitor or of the request; short work only.
    """

    def __init__(self, run: Run, told: Callable[[FollowedRun, News], None]) -> None:
        self.run, self._told = run, told
        self._lock = threading.RLock()
        self._trace: ModelTrace | None = None
        self._history: RunHistory | None = None
        self._spikes: Record | None = None
        self._waiting, self._refused_in = "waiting", ""
        self._status: dict[str, Any] = {"state": run.state, "reason": "", "step": None, "total_steps": None}
        self._greeted = False
        self._request: Request | None = None
        self._following: Following | None = None
        self._unwatch: Callable[[], None] | None = None

    def start(self) -> dict[str, Any]:
        """Begin; returns the first pulse.

        Raises:
            RunError: the run's folder is gone or cannot be written.
        """
        self._ask()
        self._unwatch = RunMonitor.shared().watch(self.run.directory, self._changed)
        return self._pulse()

    def stop(self) -> None:
        """Hear nothing more; the run goes on."""
        if self._following is not None:
            self._following.stop()
        if self._unwatch is not None:
            self._unwatch()

    def course(self, path: str) -> dict[str, Any] | None:
        """How a module, with all in it, fired at each measurement so far; None where nothing in it was measured."""
        with self._lock:
            trace, history = self._trace, self._history
        if trace is None or history is None or path not in trace.index:
            return None
        steps, names, rates = history.layers("firing_rate")
        row = trace.index[path]
        weights = [_slots(trace, row, trace.ends[row], name) for name in names]
        inside = [at for at, weight in enumerate(weights) if weight]
        if not inside or not len(steps):
            return None
        every = -(-len(steps) // MOST_POINTS)
        chosen = rates[::-every][::-1][:, inside].astype(np.float64)  # the last one is always there
        known = np.isfinite(chosen)
        share = np.where(known, chosen, 0) @ [weights[at] for at in inside]
        whole = known @ np.array([weights[at] for at in inside], np.float64)
        with np.errstate(invalid="ignore"):
            course = (share / whole).astype(np.float32)
        return {"path": path, "steps": steps[::-every][::-1].astype(np.int32).tobytes(), "rates": course.tobytes()}

    # -- on other threads --------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        if self._following is not None:
            self._following.stop()
        self._request, self._waiting = self.run.trace(), "waiting"
        self._following = Following(self._request, self._moved)

    def _moved(self, request: Request) -> None:
        state, problem, trace = request.state, None, None
        with self._lock:
            if request is not self._request:
                return
            if state == "failed":
                self._waiting, self._refused_in, problem = "", self._status["state"], request.problem
            elif state == "done":
                self._waiting, self._refused_in = "", ""
                trace = self._trace = request.trace()
            elif state != self._waiting:
                self._waiting = state
            else:
                return
            news = News(self._pulse(), trace, self._rates() if trace else None, problem)
        self._told(self, news)

    def _changed(self, change: RunChange) -> None:
        """Called by the monitor's thread, a few times a second at most."""
        with self._lock:
            if change.missing:
                self._status = {**self._status, "state": "gone", "reason": ""}
                news = News(self._pulse(), problem=_GONE)
            else:
                news = self._take(change)
        if news is not None:
            self._told(self, news)

    def _take(self, change: RunChange) -> News | None:
        before, status = self._pulse(), change.status
        if change.reset:
            self._spikes = None
        self._history = change.history
        measured = [record for record in change.metrics if record.get("kind") == "spikes"]
        self._spikes = measured[-1] if measured else self._spikes
        # The status is written every few seconds, measurements at once.
        newest = [record.get("step") for record in (change.history.latest("train"), self._spikes) if record]
        steps = [step for step in (status.step, *newest) if isinstance(step, int)]
        self._status = {
            "state": status.state,
            "reason": (status.reason or "").partition("\n")[0],
            "step": max(steps, default=None),
            "total_steps": status.total_steps,
        }
        edited = self._greeted and any(event.get("kind") in _EDITS for event in change.events)
        self._greeted = True
        if edited or (self._refused_in and status.state == "running" != self._refused_in):
            self._refused_in = ""
            self._ask()
        pulse = self._pulse()
        if pulse == before and not measured:
            return None
        return News(pulse, rates=self._rates() if measured or change.reset else None)

    def _pulse(self) -> dict[str, Any]:
        step = None if self._spikes is None else self._spikes.get("step")
        return {"run": self.run.name, **self._status, "measured": step, "waiting": self._waiting}

    def _rates(self) -> npt.NDArray[np.float32] | None:
        """One number for each row that fires by itself, in the order of the trace."""
        if self._trace is None or self._spikes is None:
            return None
        layers = self._spikes.get("layers")
        found: dict[int, float] = {}
        for layer in layers if isinstance(layers, list) else ():
            row = self._trace.index.get(str(layer.get("name")))
            rate = layer.get("firing_rate")
            if row is not None and isinstance(rate, int | float):
                found[row] = float(rate)
        firing = [row for row, node in enumerate(self._trace.nodes) if node.spikes is not None]
        return np.array([found.get(row, np.nan) for row in firing], np.float32)


def _slots(trace: ModelTrace, first: int, end: int, name: str) -> int:
    """Slots of a layer among the rows `first … end`, 0 where it is none of them: what its rate weighs."""
    row = trace.index.get(name, -1)
    facts = trace.nodes[row].spikes if first <= row < end else None
    return facts.slots if facts else 0
