"""`RunsTable`: all runs of a folder, live, to be found, opened, stopped, queued and compared."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import traitlets

from darkit_nb.errors import DarkitError, RunError
from darkit_nb.runs import Run, compare_runs, list_runs
from darkit_nb.runs.comparison import Comparison
from darkit_nb.runs.monitor import RunMonitor
from darkit_nb.runs.queue import Slots, read_slots, set_slots
from darkit_nb.runs.summary import RunSummary, summarize
from darkit_nb.views.comparison_view import comparison_rows, comparison_view
from darkit_nb.views.run_list import run_list_view
from darkit_nb.views.table import TableView
from darkit_nb.widgets.base import DarkitWidget, script, style

_FORGET_SECONDS = 30.0
"""How long a row says that something was asked of it when its state does not change."""

_LEFT_OUT = {"path"}
_TEXT_WIDTH = 160


class RunsTable(DarkitWidget):
    """Every run of a folder in one row, as it changes; sorted and searched in the page.

        table = RunsTable()          # `table.selected`: ids that are ticked; `table.current`: the one opened last
        table.observe(lambda change: print(change["new"]), "current")

    Args:
        runs_dir: the folder; it may not exist yet.

    Attributes:
        selected: ids that are ticked; may be set and observed.
        current: id that was opened by a click or Enter; may be set and observed.
        slots: runs trained at once, or `fit`.
    """

    _esm = script("runs_table")
    _css = style("runs_table")

    folder = traitlets.Unicode().tag(sync=True)
    rows: Any = traitlets.Any().tag(sync=True, to_json=lambda _, widget: widget._whole())
    selected = traitlets.List(traitlets.Unicode()).tag(sync=True)
    current: Any = traitlets.Unicode(None, allow_none=True).tag(sync=True)
    slots: Any = traitlets.Union([traitlets.Int(), traitlets.Unicode()], default_value=1).tag(sync=True)
    pending = traitlets.Dict().tag(sync=True)
    comparison: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)

    def __init__(self, runs_dir: str | Path = "runs") -> None:
        self._lock = threading.RLock()
        self._summaries: list[RunSummary] | None = None
        self._rows: dict[str, dict[str, Any]] = {}
        self._version = 0
        self._compared: Comparison | None = None
        self.runs_dir = Path(runs_dir).expanduser()
        super().__init__(folder=str(runs_dir), slots=read_slots(self.runs_dir))
        self._unwatch = RunMonitor.shared().watch_folder(self.runs_dir, self._changed)

    def returned(self) -> None:
        """Somebody looks again: a version that does not follow makes the page ask for all rows."""
        super().returned()
        with self._lock:
            self._version += 2
            self.send({"rows": {"version": self._version, "changed": [], "removed": [], "now": time.time()}})

    def close(self) -> None:
        """Stop watching, and remove the widget; runs go on."""
        self._unwatch()
        super().close()

    # -- rows --------------------------------------------------------------------------------------------------------

    def _changed(self, summaries: list[RunSummary]) -> None:
        """Called by the monitor's thread whenever a run changed: only rows that did cross to the page."""
        rows = {row.id: {key: value for key, value in asdict(row).items() if key not in _LEFT_OUT} for row in summaries}
        with self._lock:
            changed = [row for run_id, row in rows.items() if self._rows.get(run_id) != row]
            removed = [run_id for run_id in self._rows if run_id not in rows]
            moved = {row["id"] for row in changed if self._rows.get(row["id"], {}).get("state") != row["state"]}
            self._summaries, self._rows = list(summaries), rows
            if changed or removed:
                self._version += 1
                self.send(
                    {"rows": {"version": self._version, "changed": changed, "removed": removed, "now": time.time()}}
                )
            self._forget(moved | set(removed))
            if removed:
                self.selected = [run_id for run_id in self.selected if run_id in rows]
        slots = read_slots(self.runs_dir)
        if slots != self.slots:
            self.slots = slots
        self.refresh_snapshot()

    def _whole(self) -> dict[str, Any]:
        with self._lock:
            return {"version": self._version, "rows": list(self._rows.values()), "now": time.time()}

    def _forget(self, done: set[str]) -> None:
        """Leave out what was asked of runs that have changed their state since, or a while ago."""
        oldest = time.time() - _FORGET_SECONDS
        kept = {key: asked for key, asked in self.pending.items() if key not in done and asked["time"] > oldest}
        if kept != self.pending:
            self.pending = kept

    # -- what can be asked -------------------------------------------------------------------------------------------

    def run(self, run_id: str) -> Run:
        """The run of a row.

        Raises:
            RunError: the table has no such row.
        """
        with self._lock:
            if run_id not in self._rows:
                raise RunError(
                    f"There is no run {run_id!r} in this table.",
                    expected=f"an id of a run in {self.folder}",
                    received=repr(run_id),
                    cause="its folder was removed",
                )
        return Run(self.runs_dir / run_id)

    def stop(self, runs: Sequence[str]) -> None:
        """Ask runs to write a checkpoint and end, or take them out of the queue; returns at once."""
        self._act("stopping…", runs, lambda run: run.stop())

    def resume(self, runs: Sequence[str]) -> None:
        """Go on with runs now; returns at once."""
        self._act("starting…", runs, lambda run: run.resume())

    def queue(self, runs: Sequence[str]) -> None:
        """Go on with runs when their turn comes; returns at once."""
        self._act("queueing…", runs, lambda run: run.queue())

    def set_slots(self, slots: Slots) -> None:
        """Say how many runs of the folder are trained at once: a number, or `fit` for as many as memory allows.

        Raises:
            ConfigError: neither.
            RunError: the folder cannot be written.
        """
        set_slots(self.runs_dir, slots)
        self.slots = slots

    def compare(self, runs: Sequence[str] | None = None) -> Comparison:
        """Put runs side by side, the ticked ones if none are given; the page shows it below the table.

        Raises:
            RunError: no such run.
            ConfigError: there is nothing to compare, or a configuration cannot be read.
        """
        chosen = [self.run(run_id) for run_id in (self.selected if runs is None else runs)]
        self._compared = compare_runs(chosen)
        self.comparison = comparison_rows(self._compared)
        self.refresh_snapshot()
        return self._compared

    do_stop, do_resume, do_queue, do_slots, do_compare = stop, resume, queue, set_slots, compare

    def do_uncompare(self) -> None:
        """Close the comparison."""
        self.comparison = self._compared = None

    def do_rows(self, view: str) -> None:
        """Send all rows to a page that has none yet, or missed a change."""
        self.send({"whole": {"view": view, **self._whole()}})

    def _act(self, doing: str, runs: Sequence[str], action: Callable[[Run], Any]) -> None:
        with self._lock:
            chosen = [self.run(run_id) for run_id in runs if run_id not in self.pending]
            asked = {"text": doing, "time": time.time()}
            self.pending = {**self.pending, **{run.id: asked for run in chosen}}
        if chosen:
            # Several runs may take seconds, and messages of the page have to be answered meanwhile.
            work = threading.Thread(target=self.guard, args=(self._each, chosen, action), daemon=True)
            work.start()

    def _each(self, runs: list[Run], action: Callable[[Run], Any]) -> None:
        failed: list[tuple[Run, DarkitError]] = []
        for run in runs:
            try:
                action(run)
            except DarkitError as error:
                failed.append((run, error))
        if not failed:
            return
        with self._lock:
            self._forget({run.id for run, _ in failed})
        run, error = failed[0]
        if len(runs) == 1:
            raise error
        raise RunError(
            f"{len(failed)} of {len(runs)} runs could not: {', '.join(run.name for run, _ in failed[:5])}.",
            received=f"{run.name}: {error.message}",
            cause=error.cause,
            fix=error.fix,
        )

    # -- without a browser -------------------------------------------------------------------------------------------

    def text(self) -> str:
        """The table as text, and the comparison below it."""
        return "\n\n".join(view.to_text(_TEXT_WIDTH) for view in self._views())

    def snapshot(self) -> str:
        """The table as a static picture, and the comparison below it."""
        return "".join(view.to_html() for view in self._views())

    def _views(self) -> list[TableView]:
        summaries = self._summaries
        if summaries is None:  # asked before the monitor has looked
            summaries = [summarize(run.root) for run in list_runs(self.runs_dir)]
        compared = self._compared
        return [run_list_view(summaries, self.folder), *([comparison_view(compared)] if compared else [])]
