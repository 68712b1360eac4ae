"""The measurements of one run as growing columns of numbers: cheap to extend, cheap to draw."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkit_nb.runs.metrics import Record

LAYER_FIELDS = ("firing_rate", "silent_share", "effective_steps")
"""What is kept of every layer of a `spikes` record; the whole record is read from the file where more is wanted."""

_NO_COLUMN = {"schema", "attempt", "step", "kind"}
_PLAIN = {int, float, type(None)}
_LARGEST = 2**63


class RunHistory:
    """All measurements of a run, by kind; every step once, in order, as the last attempt measured it.

    The judge is `metrics.last_attempts`: this holds the same values in arrays. One thread extends, any may read. Arrays
    that were handed out are views: a resumed run that measures a step again changes their values, never their length.
    """

    def __init__(self) -> None:
        self._tables: dict[str, _Table] = {}
        self._layers: dict[str, _Table] = {field: _Table(np.float32) for field in LAYER_FIELDS}
        self._latest: dict[str, Record] = {}
        self._attempts: dict[int, int] = {}
        self._lock = threading.RLock()

    def extend(self, records: Iterable[Record]) -> None:
        """Add records in the order they were written; those without a step or a kind are left out."""
        by_kind: dict[str, list[Record]] = {}
        for record in records:
            step, kind = record.get("step"), record.get("kind")
            if isinstance(step, int) and isinstance(kind, str) and -_LARGEST <= step < _LARGEST:
                by_kind.setdefault(kind, []).append(record)
        with self._lock:
            for kind, batch in by_kind.items():
                self._latest[kind] = batch[-1]
                steps = np.array([record["step"] for record in batch], np.int64)
                attempts = _attempts(batch)
                self._note_attempts(steps, attempts)
                self._tables.setdefault(kind, _Table(np.float64)).extend(steps, attempts, _columns(batch))
                if kind == "spikes":
                    for field, table in self._layers.items():
                        table.extend(steps, attempts, _layer_columns(batch, field))

    def _note_attempts(self, steps: NDArray[np.int64], attempts: NDArray[np.int64]) -> None:
        for attempt in np.unique(attempts).tolist():
            first = int(steps[attempts == attempt].min())
            self._attempts[attempt] = min(first, self._attempts.get(attempt, first))

    def __len__(self) -> int:
        """Steps of all kinds together."""
        return sum(table.length for table in self._tables.values())

    def series(self, kind: str, name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Steps and values of one quantity; NaN where a step has none, empty where it was never measured.

        Args:
            kind: such as "train", "evaluation" or "spikes".
            name: a field of those records; `energy_pj.<key>` is the energy per token of one reading.
        """
        with self._lock:
            table = self._tables.get(kind)
            if table is None or name not in table.columns:
                return np.empty(0, np.int64), np.empty(0, np.float64)
            return table.view(table.steps), table.view(table.columns[name])

    def layers(self, field: str) -> tuple[NDArray[np.int64], tuple[str, ...], NDArray[np.float32]]:
        """Steps, layer names in the order of the model, and one value per step and layer (NaN where not measured).

        Args:
            field: one of `LAYER_FIELDS`.
        """
        with self._lock:
            table = self._layers[field]
            names = tuple(table.columns)
            values = [table.view(table.columns[name]) for name in names]
            stacked = np.stack(values, axis=1) if values else np.empty((table.length, 0), np.float32)
            return table.view(table.steps), names, stacked

    def latest(self, kind: str) -> Record | None:
        """The record of that kind that was written last."""
        return self._latest.get(kind)

    @property
    def rewritten(self) -> int:
        """Grows when a value was replaced or inserted; while it stays, every series has only been added to."""
        return sum(table.rewritten for table in self._tables.values())

    @property
    def attempts(self) -> list[tuple[int, int]]:
        """(first step, attempt) of every start of the run, in the order of the attempts."""
        with self._lock:
            return [(step, attempt) for attempt, step in sorted(self._attempts.items())]

    def names(self) -> dict[str, tuple[str, ...]]:
        """Quantities there is a series of, by kind."""
        with self._lock:
            return {kind: tuple(table.columns) for kind, table in self._tables.items()}


class _Table:
    """Columns of one length over steps that ascend without repetition."""

    def __init__(self, dtype: type[np.floating]) -> None:
        self.dtype = dtype
        self.length = 0
        self.rewritten = 0
        self.steps = np.empty(0, np.int64)
        self.attempts = np.empty(0, np.int64)
        self.columns: dict[str, NDArray[Any]] = {}

    def view(self, column: NDArray[Any]) -> NDArray[Any]:
        """The filled part, not to be written to."""
        seen = column[: self.length]
        seen.flags.writeable = False
        return seen

    def extend(self, steps: NDArray[np.int64], attempts: NDArray[np.int64], values: dict[str, NDArray[Any]]) -> None:
        """Add rows in the order they were written. Steps beyond the last are appended; others replaced or inserted."""
        for name in values:
            if name not in self.columns:
                self.columns[name] = np.full(len(self.steps), np.nan, self.dtype)
        if not np.all(steps[1:] > steps[:-1]):
            chosen = _winners(steps, attempts)
            steps, attempts = steps[chosen], attempts[chosen]
            values = {name: column[chosen] for name, column in values.items()}
        known = int(np.searchsorted(steps, self.steps[self.length - 1], "right")) if self.length else 0
        if known:
            self._merge(steps[:known], attempts[:known], {name: column[:known] for name, column in values.items()})
        self._append(steps[known:], attempts[known:], {name: column[known:] for name, column in values.items()})

    def _append(self, steps: NDArray[np.int64], attempts: NDArray[np.int64], values: dict[str, NDArray[Any]]) -> None:
        start, end = self.length, self.length + len(steps)
        self._reserve(end)
        self.steps[start:end], self.attempts[start:end] = steps, attempts
        for name, column in self.columns.items():
            column[start:end] = values.get(name, np.nan)
        self.length = end

    def _merge(self, steps: NDArray[np.int64], attempts: NDArray[np.int64], values: dict[str, NDArray[Any]]) -> None:
        """Rows at or before the last step there is, ascending: replace a step that is there, insert one that is not."""
        self.rewritten += 1
        places = np.searchsorted(self.steps[: self.length], steps)
        there = self.steps[places] == steps
        wins = there & (attempts >= self.attempts[places])
        self.attempts[places[wins]] = attempts[wins]
        for name, column in self.columns.items():
            column[places[wins]] = values[name][wins] if name in values else np.nan
        if there.all():
            return
        at, new = places[~there], ~there
        self.steps = np.insert(self.steps[: self.length], at, steps[new])
        self.attempts = np.insert(self.attempts[: self.length], at, attempts[new])
        for name, column in self.columns.items():
            inserted = values[name][new] if name in values else np.nan
            self.columns[name] = np.insert(column[: self.length], at, inserted)
        self.length = len(self.steps)

    def _reserve(self, length: int) -> None:
        if length <= len(self.steps):
            return
        capacity = max(length, 2 * len(self.steps), 64)
        self.steps = _grown(self.steps, capacity)
        self.attempts = _grown(self.attempts, capacity)
        self.columns = {name: _grown(column, capacity) for name, column in self.columns.items()}


def _grown(column: NDArray[Any], capacity: int) -> NDArray[Any]:
    grown = np.empty(capacity, column.dtype)
    grown[: len(column)] = column
    return grown


def _winners(steps: NDArray[np.int64], attempts: NDArray[np.int64]) -> NDArray[np.intp]:
    """Rows that stay, ordered by step: of equal steps the highest attempt, of equal attempts the one written last."""
    order = np.lexsort((attempts, steps))  # stable
    ordered = steps[order]
    return order[np.append(ordered[1:] != ordered[:-1], True)]


def _attempts(batch: Sequence[Record]) -> NDArray[np.int64]:
    found = [record.get("attempt", 0) for record in batch]
    return np.array([each if isinstance(each, int) and abs(each) < _LARGEST else 0 for each in found], np.int64)


def _columns(batch: Sequence[Record]) -> dict[str, NDArray[np.float64]]:
    """The numbers of the records by name, in the order the names first came; what is no number is NaN."""
    names = dict.fromkeys(name for keys in dict.fromkeys(map(tuple, batch)) for name in keys)
    columns = {name: _numbers([record.get(name) for record in batch]) for name in names if name not in _NO_COLUMN}
    columns |= _energy_columns(batch) if "energy" in names else {}
    return {name: column for name, column in columns.items() if column is not None}


def _numbers(values: list[Any]) -> NDArray[np.float64] | None:
    """As floats; None where there is not one number among them."""
    kinds = set(map(type, values))
    if not kinds & {int, float}:
        return None
    if not kinds <= _PLAIN:
        values = [each if type(each) in _PLAIN else None for each in values]
    try:
        return np.array(values, float)
    except OverflowError:  # an integer no float can hold
        return np.array([each if type(each) is float else np.nan for each in values])


def _energy_columns(batch: Sequence[Record]) -> dict[str, NDArray[np.float64] | None]:
    """Energy per token of every reading, as `energy_pj.<key>`."""
    rows = [_named(_part(record.get("energy"), "readings"), "key", "total_pj") for record in batch]
    names = dict.fromkeys(name for row in rows for name in row)
    return {f"energy_pj.{name}": _numbers([row.get(name) for row in rows]) for name in names}


def _layer_columns(batch: Sequence[Record], field: str) -> dict[str, NDArray[np.float64]]:
    rows = [_named(record.get("layers"), "name", field) for record in batch]
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: _numbers([row.get(name) for row in rows]) for name in names}
    return {name: column for name, column in columns.items() if column is not None}


def _part(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _named(entries: Any, key: str, value: str) -> dict[str, Any]:
    """`{entry[key]: entry[value]}` of a list of objects, whatever else a damaged file holds in their place."""
    entries = entries if isinstance(entries, list) else []
    return {str(each.get(key)): each.get(value) for each in entries if isinstance(each, dict)}
