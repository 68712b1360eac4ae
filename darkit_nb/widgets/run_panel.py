"""`RunPanel`: one run, what it does, says and holds, and the buttons that drive it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import traitlets

from darkit_nb.config import RunConfig
from darkit_nb.errors import DarkitError, RunError
from darkit_nb.runs import Run, open_run
from darkit_nb.runs.history import RunHistory
from darkit_nb.runs.monitor import RunMonitor
from darkit_nb.runs.status import RunStatus
from darkit_nb.runs.summary import RunSummarizer, RunSummary, summarize
from darkit_nb.runs.watched import RunChange
from darkit_nb.views.event_line import event_line
from darkit_nb.views.run_card import RunCard, plain_line
from darkit_nb.widgets import log_feed
from darkit_nb.widgets.base import DarkitWidget, script, style
from darkit_nb.widgets.log_feed import LogFeed
from darkit_nb.widgets.pending import PendingCommands
from darkit_nb.widgets.run_facts import checkpoint_rows, describe, ending

EVENTS = 100


class RunPanel(DarkitWidget):
    """State, progress, measurements, log, checkpoints and events of a run, live; stops, resumes and clones it.

        RunPanel(run)      # also by id or folder; `panel.run = other` shows another one

    Any number of panels, in any number of notebooks, may show and drive one run: each button is a line in the run's
    folder, and what one asks for the others see.

    Args:
        run: the run, its folder or id; None shows that there is none.
        runs_dir: where ids are looked up.

    Attributes:
        run: what is shown; may be set.
        cloned: the configuration that Clone made last, for a form that observes it.
    """

    _esm = script("run_panel")
    _css = style("run_panel")

    status: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    pending = traitlets.Dict().tag(sync=True)
    checkpoints = traitlets.List().tag(sync=True)
    events = traitlets.List().tag(sync=True)
    about = traitlets.Dict().tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)
    cloned: Any = traitlets.Instance(RunConfig, allow_none=True)

    def __init__(self, run: Run | str | Path | None = None, *, runs_dir: str | Path = "runs") -> None:
        super().__init__()
        self._runs_dir = runs_dir
        self._lock = threading.RLock()
        self._run: Run | None = None
        self._unwatch: Callable[[], None] = _nothing
        self._doing: dict[str, float] = {}
        self._feed: LogFeed | None = None
        self._commands: PendingCommands | None = None
        self._summarizer: RunSummarizer | None = None
        self._summary: RunSummary | None = None
        self.run = run

    @property
    def run(self) -> Run | None:
        """The run that is shown."""
        return self._run

    @run.setter
    def run(self, run: Run | str | Path | None) -> None:
        found = None if run is None else open_run(run, self._runs_dir)
        if found is not None and found == self._run:
            return
        self._unwatch()
        with self._lock:
            self._run, self._summary, self._doing = found, None, {}
            self._checkpoints_written: float | None = None
            self._summarizer = RunSummarizer(found.root) if found else None
            self._feed = LogFeed(found.directory.log_path) if found else None
            self._commands = PendingCommands(found.directory) if found else None
            with self.hold_sync():
                self.status, self.pending, self.checkpoints, self.events, self.note = None, {}, [], [], ""
                self.about, self.problem = describe(found) if found else {}, None
            self.send({"log_reset": True})
        self._unwatch = RunMonitor.shared().watch(found.directory, self._changed) if found else _nothing
        self.refresh_snapshot()

    def returned(self) -> None:
        """Somebody looks again: the page asks for the end of the log anew."""
        super().returned()
        self.send({"log_reset": True})

    def close(self) -> None:
        """Stop watching, and remove the widget; the run goes on."""
        self._unwatch()
        super().close()

    # -- what the run's folder says ----------------------------------------------------------------------------------

    def _changed(self, change: RunChange) -> None:
        """Called by the monitor's thread, a few times a second at most."""
        with self._lock:
            if self._run is None or change.run != self._run.directory or self._commands is None:
                return
            if change.reset:
                self._feed, self._commands = LogFeed(change.run.log_path), PendingCommands(change.run)
                self.events = []
                self.send({"log_reset": True})
            self._commands.acknowledge(change.events)
            with self.hold_sync():
                self._take_lists(change)
                self._take_status(change.status, change.history, missing=change.missing)
            self._push_log()
        self.refresh_snapshot()

    def _take_lists(self, change: RunChange) -> None:
        lines = [line for line in map(event_line, change.events) if line is not None]
        if lines:
            self.events = [*self.events, *lines][-EVENTS:]
        written = _modified(change.run.checkpoints_path)
        if written != self._checkpoints_written and not change.missing:
            self._checkpoints_written = written
            self.checkpoints = checkpoint_rows(change.run)

    def _take_status(self, status: RunStatus, history: RunHistory | None = None, *, missing: bool = False) -> None:
        if self._summarizer is None or self._commands is None:
            return
        if missing and self.status is not None:
            self.status = {**self.status, "missing": True}
            self.pending = {}
            return
        summary = self._summarizer.read()
        train = history.latest("train") if history is not None else None
        memory = train.get("memory_bytes") if train else (self.status or {}).get("memory_bytes")
        found = {
            **asdict(summary),
            "attempt": status.attempt,
            "memory_bytes": memory,
            "problem": ending(status, summary.state, summary.reason),
            "missing": missing,
        }
        self._summary = summary
        if {**found, "now": 0} != {**(self.status or {}), "now": 0}:
            self.status = {**found, "now": time.time()}
        self._take_pending(status)

    def _take_pending(self, status: RunStatus) -> None:
        asked = self._commands.read(status) if self._commands else {}
        pending = {**asked, **self._doing}
        if pending != self.pending:
            self.pending = pending

    def _push_log(self) -> None:
        batch = self._feed.read() if self._feed else None
        if batch is not None:
            message, buffers = batch.message()
            self.send({"log": {"view": None, **message}}, buffers)

    # -- what can be asked of it -------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Ask the run to write a checkpoint and end, or take it out of the queue; returns at once."""
        self._act("stop", lambda run: run.stop())

    def checkpoint(self) -> None:
        """Ask for a checkpoint at the next step; returns at once."""
        self._act("checkpoint", lambda run: run.checkpoint())

    def resume(self) -> None:
        """Go on from the newest checkpoint; a leftover process is ended first. Returns at once."""
        self._act("resume", lambda run: run.resume())

    def end_orphan(self) -> None:
        """End a trainer that goes on without its supervisor; returns at once."""
        self._act("end_orphan", lambda run: run.end_orphan())

    def clone(self) -> RunConfig:
        """The settings of the run for a new one; also set as `cloned`.

        Raises:
            RunError: no run is shown.
            ConfigError: its configuration cannot be read.
        """
        config = self._require_run().clone()
        self.cloned = config
        self.note = "Cloned: dk.train(panel.cloned) starts a new run with these settings."
        return config

    do_stop, do_checkpoint, do_resume, do_end_orphan, do_clone = stop, checkpoint, resume, end_orphan, clone

    def do_read_note(self) -> None:
        """Put the note away."""
        self.note = ""

    def do_log(self, view: str) -> None:
        """Send the end of the log to a page that has nothing yet."""
        if self._feed is not None:
            message, buffers = self._feed.whole().message()
            self.send({"log": {"view": view, **message}}, buffers)

    def do_search(self, text: str, view: str) -> None:
        """Search the whole log and send the page what was found."""
        run = self._run
        if run is not None:
            message, buffers = log_feed.search(run.directory.log_path, text)
            self.send({"hits": {"view": view, **message}}, buffers)

    def _require_run(self) -> Run:
        if self._run is None:
            raise RunError(
                "No run is shown.", expected="a run", received="none", fix="panel.run = dk.open_run('latest')"
            )
        return self._run

    def _act(self, name: str, action: Callable[[Run], Any]) -> None:
        """Do something with the run, once: asked again while it is being done, nothing happens."""
        run = self._require_run()
        with self._lock:
            if name in self.pending or name in self._doing:
                return
            self._doing[name] = time.time()
            self.pending = {**self.pending, **self._doing}
        # Ending a process may take seconds, and messages of the page have to be answered meanwhile.
        threading.Thread(target=self._do, args=(run, name, action), name=f"darkit-{name}", daemon=True).start()

    def _do(self, run: Run, name: str, action: Callable[[Run], Any]) -> None:
        self.guard(action, run)
        with self._lock:
            if run == self._run:
                self._doing.pop(name, None)
                with suppress(DarkitError), self.hold_sync():
                    self._take_status(run.status, missing=not run.root.is_dir())
                    self._take_pending(run.status)

    # -- without a browser -------------------------------------------------------------------------------------------

    def text(self) -> str:
        """The panel as text."""
        card = self._card()
        return card.to_text() if card else "No run is shown."

    def snapshot(self) -> str:
        """The panel as a static picture."""
        card = self._card()
        return card.to_html() if card else "<div>No run is shown.</div>"

    def _card(self) -> RunCard | None:
        run = self._run
        if run is None:
            return None
        missing = not run.root.is_dir()
        summary = self._summary if missing and self._summary else summarize(run.root)
        status = self.status or {}
        return RunCard(
            summary=summary,
            memory_bytes=status.get("memory_bytes"),
            problem=status.get("problem"),
            checkpoints=self.checkpoints,
            events=self.events,
            edits=[f"{each.number}. {each.label}, after step {each.step}" for each in run.patches if each.in_model],
            settings=dict(self.about.get("settings", [])),
            command=self.about.get("command", ""),
            log=[plain_line(line) for line in self._feed.recent(8)] if self._feed else [],
            missing=missing,
        )


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _nothing() -> None:
    pass
