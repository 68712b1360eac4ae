"""Runs and folders of runs that somebody watches: what is new of their files since the last look."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from darkit_nb.errors import DarkitError
from darkit_nb.runs.directory import RunDirectory
from darkit_nb.runs.history import RunHistory
from darkit_nb.runs.launch_record import FILE as LAUNCH_FILE
from darkit_nb.runs.metrics import MetricsReader, Record
from darkit_nb.runs.naming import run_folders
from darkit_nb.runs.queue import advance_queue
from darkit_nb.runs.status import QUEUED, RunStatus, derive_state, read_status
from darkit_nb.runs.summary import RunSummarizer, RunSummary

LOOK_SECONDS = 1.0
"""Between two looks whether the processes of a run still live."""

FOLDER_SECONDS = 1.0
ADVANCE_SECONDS = 5.0
_CHUNK_BYTES = 2**22
_STATUS_FILES = ("status.json", LAUNCH_FILE, QUEUED)

Signature = tuple[tuple[int, int, int] | None, ...]
Item = TypeVar("Item")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunChange:
    """What is new of a run since a listener last heard of it.

    Attributes:
        run: The run.
        status: What it is doing now.
        history: All its measurements; one growing object for all listeners.
        metrics: New measurements. In the first change only the newest of each kind: the others are in `history`.
        events: New events; in the first change all there are.
        log_grew: Whether the log has something new.
        reset: Whether files were replaced, so that what was told before is void; `history` is then another object.
        missing: Whether the folder is gone.
    """

    run: RunDirectory
    status: RunStatus
    history: RunHistory
    metrics: list[Record] = field(default_factory=list)
    events: list[Record] = field(default_factory=list)
    log_grew: bool = False
    reset: bool = False
    missing: bool = False


@dataclass(eq=False)
class Listener(Generic[Item]):
    """Somebody who wants to know."""

    call: Callable[[Item], None]
    active: bool = True
    greeted: bool = False

    def tell(self, item: Item) -> None:
        """Call them, unless they want no more; what they raise is logged."""
        if not self.active:
            return
        self.greeted = True
        try:
            self.call(item)
        except Exception:  # noqa: BLE001 - its fault, and no reason to stop telling the others
            _log.exception("a listener failed")


class WatchedRun:
    """One run and those who watch it."""

    def __init__(self, path: Path) -> None:
        self.path, self.run = path, RunDirectory(path)
        self.listeners: list[Listener[RunChange]] = []
        self.active = False
        self._missing = False
        self._status = RunStatus()
        self._seen: tuple[Any, ...] = ()
        self._next_look = 0.0
        self._start_over()

    def _start_over(self) -> None:
        self._history = RunHistory()
        self._metrics = MetricsReader(self.run.metrics_path)
        self._events = MetricsReader(self.run.events_path)
        self._all_events: list[Record] = []
        self._signatures: dict[str, Signature] = {}

    def poll(self) -> bool:
        """Read what is new and tell it; whether there is more to read at once."""
        if not self.path.is_dir():
            return self._tell_missing()
        reset, self._missing = self._missing, False
        status_changed = self._changed("status", *_STATUS_FILES)
        metrics = self._read(self._metrics) if self._changed("metrics", "metrics.jsonl") else []
        events = self._read(self._events) if self._changed("events", "events.jsonl") else []
        if metrics is None or events is None:
            self._start_over()
            reset, status_changed = True, self._changed("status", *_STATUS_FILES)
            self._changed("metrics", "metrics.jsonl")
            metrics, events = self._read(self._metrics) or [], self._read(self._events) or []
        if metrics:
            self._history.extend(metrics)
        self._all_events += events
        if status_changed:
            self._status = _status_of(self.path)
        if self._metrics.behind:
            self._signatures.pop("metrics", None)
        self._tell(metrics, events, reset, log_grew=self._changed("log", "stdout.log"))
        return self._metrics.behind

    def _tell(self, metrics: list[Record], events: list[Record], reset: bool, *, log_grew: bool) -> None:
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            waits = self._status.place is not None  # whose place changes when another one's turn comes
            if waits or derive_state(self._status)[0] != self._status.state:
                self._status = _status_of(self.path)  # a process died without a word, or a heartbeat grew old
        status = self._status
        state, reason = status.state, status.reason
        seen = (state, reason, status.step, status.total_steps, status.attempt, status.queued, status.orphan_pid)
        seen += (status.place, status.message, status.extra.get("windows_done"))
        self.active = state in ("starting", "running") or status.orphan_pid is not None or bool(metrics or events)
        news = bool(metrics or events or log_grew or reset or seen != self._seen)
        self._seen = seen
        change = RunChange(self.run, status, self._history, metrics, events, log_grew, reset)
        for listener in list(self.listeners):
            if not listener.greeted:
                latest = [record for kind in self._history.names() if (record := self._history.latest(kind))]
                listener.tell(replace(change, metrics=latest, events=list(self._all_events), log_grew=True))
            elif news:
                listener.tell(change)

    def _tell_missing(self) -> bool:
        if not self._missing:
            self._start_over()
        change = RunChange(self.run, self._status, self._history, missing=True)
        for listener in list(self.listeners):
            if not (self._missing and listener.greeted):
                listener.tell(change)
        self._missing, self.active = True, False
        return False

    def _changed(self, what: str, *names: str) -> bool:
        found = _signature(self.path, names)
        if found == self._signatures.get(what):
            return False
        self._signatures[what] = found
        return True

    def _read(self, reader: MetricsReader) -> list[Record] | None:
        """New records; None when the file is another one than before."""
        generation = reader.generation
        records = reader.read(_CHUNK_BYTES)
        return records if reader.generation == generation else None


class WatchedFolder:
    """A folder of runs and those who watch it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listeners: list[Listener[list[RunSummary]]] = []
        self.active = False
        self._next = self._next_advance = 0.0
        self._rows: dict[Path, tuple[RunSummarizer, Signature, RunSummary]] = {}
        self._told: list[RunSummary] | None = None

    def poll(self) -> bool:
        """Tell of the runs if one of them changed."""
        newcomers = [listener for listener in self.listeners if not listener.greeted]
        now = time.monotonic()
        if now < self._next and not newcomers:
            return False
        self._next = now + FOLDER_SECONDS
        try:
            found = run_folders(self.path)
        except DarkitError:
            found = []
        self._rows = {root: self._row(root) for root in found}
        rows = [row for _, _, row in self._rows.values()]
        changed, self._told = rows != self._told, rows
        self.active = any(row.state in ("starting", "running") for row in rows)
        if any(row.state == "queued" for row in rows) and now >= self._next_advance:
            self._next_advance = now + ADVANCE_SECONDS
            with suppress(DarkitError):  # where this process may only look
                advance_queue(self.path)
        for listener in list(self.listeners):
            if changed or not listener.greeted:
                listener.tell(list(rows))
        return False

    def _row(self, root: Path) -> tuple[RunSummarizer, Signature, RunSummary]:
        """The row of a run, read again where its files changed or a process may have died."""
        found = _signature(root, (*_STATUS_FILES, "metrics.jsonl"))
        before = self._rows.get(root)
        if before and before[1] == found and before[2].state not in ("queued", "starting", "running", "lost"):
            return before
        summarizer = before[0] if before else RunSummarizer(root)
        return summarizer, found, summarizer.read()


def _status_of(root: Path) -> RunStatus:
    try:
        return read_status(root)
    except DarkitError as error:
        return RunStatus(recorded="unreadable", message=error.message)


def _signature(root: Path, names: tuple[str, ...]) -> Signature:
    found: list[tuple[int, int, int] | None] = []
    for name in names:
        entry = None
        with suppress(OSError):
            info = os.stat(f"{root}/{name}")  # noqa: PTH116 - a hundred of them a second, and a Path costs more
            entry = (info.st_ino, info.st_size, info.st_mtime_ns)
        found.append(entry)
    return tuple(found)
