"""A run in one row: state, progress and last measurements, read from the ends of its files."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from darkit_nb.errors import DarkitError
from darkit_nb.records.energy import SPIKING_READING
from darkit_nb.runs import naming
from darkit_nb.runs.metrics import MetricsReader, Record
from darkit_nb.runs.status import RunStatus, State, read_status

_TAIL_BYTES = 2**19
_CHUNK_BYTES = 2**22
_STEPS_FOR_ETA = 20


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """What a table shows of a run; None is what is not known yet.

    Attributes:
        id, name, path: Which run, and its folder.
        state, reason, place, orphan_pid: As in `RunStatus`.
        step, total_steps: Progress, as of the newest measurement.
        loss, tokens_per_s: Of the newest training step.
        bits_per_byte: Of the newest validation.
        firing_rate: Of the newest spike measurement.
        energy_pj: Per token, of the same; the spiking reading, simulated.
        started, ended: Unix times of the newest attempt.
        eta_s: Seconds of training left at the speed of the last steps.
    """

    id: str
    name: str
    path: str
    state: State
    reason: str | None = None
    step: int | None = None
    total_steps: int | None = None
    loss: float | None = None
    bits_per_byte: float | None = None
    firing_rate: float | None = None
    energy_pj: float | None = None
    tokens_per_s: float | None = None
    started: float | None = None
    ended: float | None = None
    eta_s: float | None = None
    orphan_pid: int | None = None
    place: int | None = None


class RunSummarizer:
    """Keeps the newest records of one run and makes summaries of them; reading again costs only what is new.

    Args:
        root: The run's folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._reader = MetricsReader(root / "metrics.jsonl", tail_bytes=_TAIL_BYTES)
        self._generation = 0
        self._latest: dict[str, Record] = {}
        self._step_seconds: deque[float] = deque(maxlen=_STEPS_FOR_ETA)

    def read(self) -> RunSummary:
        """The summary as of now; a status nobody can read makes a *lost* run, not an error."""
        try:
            status = read_status(self.root)
        except DarkitError as error:
            status = RunStatus(recorded="unreadable", message=error.message)
        self._read_metrics()
        return self._summary(status)

    def _read_metrics(self) -> None:
        more = True
        while more:
            records = self._reader.read(_CHUNK_BYTES)
            if self._reader.generation != self._generation:
                self._generation = self._reader.generation
                self._latest.clear()
                self._step_seconds.clear()
            for record in records:
                if isinstance(record.get("kind"), str) and isinstance(record.get("step"), int):
                    self._latest[record["kind"]] = record
                    seconds = _number(record.get("step_seconds"))
                    if seconds is not None:
                        self._step_seconds.append(seconds)
            more = self._reader.behind

    def _summary(self, status: RunStatus) -> RunSummary:
        train, spikes = self._latest.get("train", {}), self._latest.get("spikes", {})
        state, total = status.state, status.total_steps
        live = state in ("running", "lost")
        step = max(filter(None, (status.step, train.get("step") if live else None)), default=status.step)
        return RunSummary(
            id=self.root.name,
            name=naming.name_of(self.root.name),
            path=str(self.root),
            state=state,
            reason=status.message if status.recorded == "unreadable" else status.reason,
            step=step,
            total_steps=total,
            loss=_number(train.get("loss")),
            bits_per_byte=_number(self._latest.get("evaluation", {}).get("bits_per_byte")),
            firing_rate=_number(spikes.get("firing_rate")),
            energy_pj=_energy_pj(spikes),
            tokens_per_s=_number(train.get("tokens_per_s")),
            started=status.started,
            ended=status.ended,
            eta_s=self._eta(step, total) if state == "running" else None,
            orphan_pid=status.orphan_pid,
            place=status.place,
        )

    def _eta(self, step: int | None, total: int | None) -> float | None:
        if step is None or total is None or not self._step_seconds:
            return None
        return max(0, total - step) * median(self._step_seconds)


def summarize(root: str | Path) -> RunSummary:
    """The summary of one run, read now."""
    return RunSummarizer(Path(root).resolve()).read()


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _energy_pj(spikes: Record) -> float | None:
    energy = spikes.get("energy")
    readings = energy.get("readings") if isinstance(energy, dict) else None
    for reading in readings if isinstance(readings, list) else ():
        if isinstance(reading, dict) and reading.get("key") == SPIKING_READING:
            return _number(reading.get("total_pj"))
    return None
