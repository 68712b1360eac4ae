"""`Run`: the handle by which a notebook starts, watches and stops a training that outlives it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkit_nb.config import RunConfig, command_line
from darkit_nb.errors import DarkitError, RunError
from darkit_nb.plugins import registry
from darkit_nb.runs.checkpoints import Checkpoint
from darkit_nb.runs.checks import check_before_start
from darkit_nb.runs.control import send
from darkit_nb.runs.directory import RunDirectory
from darkit_nb.runs.ending import end_orphan
from darkit_nb.runs.frames import metrics_frame
from darkit_nb.runs.launcher import start_supervisor
from darkit_nb.runs.log import LogReader
from darkit_nb.runs.queue import advance_queue, dequeue, enqueue
from darkit_nb.runs.resuming import plan_resume
from darkit_nb.runs.run_edits import EditableRun
from darkit_nb.runs.run_requests import AskableRun
from darkit_nb.runs.status import RunStatus, State
from darkit_nb.runs.waiting import ended_badly, wait_for_end, wait_while_active

if TYPE_CHECKING:
    import pandas

_POLL_SECONDS = 0.2
_QUEUE_SECONDS = 1.0


class Run(AskableRun, EditableRun):
    """One run, wherever it is trained. Holds nothing but its folder, so any number of handles agree.

    In a notebook a run shows itself as a live panel; elsewhere as one line of text.

    Args:
        directory: the run's folder.
    """

    def __init__(self, directory: RunDirectory | str | Path) -> None:
        root = directory.root if isinstance(directory, RunDirectory) else Path(directory)
        self.directory = RunDirectory(root.expanduser().absolute())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and self.directory == other.directory

    def __hash__(self) -> int:
        return hash(self.directory)

    def __fspath__(self) -> str:
        return str(self.directory.root)

    def __repr__(self) -> str:
        status = self.status
        parts = [f"Run {self.id}: {status.state}"]
        if status.total_steps:
            parts.append(f"step {status.step or 0} of {status.total_steps}")
        if status.reason:
            parts.append(status.reason.splitlines()[0])
        return ", ".join(parts)

    def _ipython_display_(self) -> None:
        """Show the live panel, or the line of text where there is none."""
        from IPython.display import display

        try:
            show = registry("display").get("run").load()
        except DarkitError:
            print(repr(self))
            return
        shown = show(self)
        if shown is not None:
            display(shown)

    # -- what it is --------------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """Name of its folder."""
        return self.directory.id

    @property
    def name(self) -> str:
        """The readable part of the id."""
        return self.directory.name

    @property
    def root(self) -> Path:
        """Its folder."""
        return self.directory.root

    @property
    def config(self) -> RunConfig:
        """The configuration it was made with."""
        return self.directory.read_config()

    @property
    def status(self) -> RunStatus:
        """What it is doing, read now."""
        return self.directory.read_status()

    @property
    def state(self) -> State:
        """created, queued, starting, running, finished, stopped, failed or lost."""
        return self.status.state

    @property
    def metrics(self) -> pandas.DataFrame:
        """One row a training step, with the evaluation and the firing rate of the steps that have them."""
        return metrics_frame(self.directory.read_metrics())

    def log(self, lines: int = 200) -> str:
        """The last lines of the trainer's output."""
        return LogReader(self.directory.log_path).tail(lines)

    def checkpoints(self) -> list[Checkpoint]:
        """Complete checkpoints, oldest first."""
        return self.directory.checkpoints()

    def latest_checkpoint(self) -> Checkpoint | None:
        """The newest complete checkpoint."""
        return self.directory.latest_checkpoint()

    # -- what can be asked of it -------------------------------------------------------------------------------------

    def wait(self, timeout_s: float | None = None) -> Run:
        """Wait until it has finished or was stopped.

        Args:
            timeout_s: give up waiting after so many seconds; the run goes on.

        Raises:
            RunError: it failed or was lost, or is not done in time.
        """
        status = wait_for_end(self._look, timeout_s)
        if status is None:
            now = self.status
            raise RunError(
                f"The run {self.id} is not done after {timeout_s:g} seconds; it goes on.",
                expected="finished or stopped",
                received=f"{now.state}, step {now.step or 0} of {now.total_steps or '?'}",
                fix="wait again, or stop it",
            )
        if status.state in ("failed", "lost", "created"):
            raise self._ended_badly(status)
        return self

    def _look(self) -> tuple[RunStatus, float]:
        status = self.status
        if status.state == "queued":
            advance_queue(self.root.parent)
            return status, _QUEUE_SECONDS
        return status, _POLL_SECONDS

    def stop(self, *, wait_s: float = 0.0) -> str:
        """Ask it to write a checkpoint and end at the next step; one that is queued is taken out of the queue.

        Args:
            wait_s: wait so many seconds for it to end.

        Returns: Id of the command; empty where nothing runs that could be stopped.
        """
        dequeue(self.directory)
        status = self.status
        if not status.active and status.orphan_pid is None:
            return ""
        sent = send(self.directory, "stop").id
        wait_while_active(lambda: self.status, wait_s)
        return sent

    def checkpoint(self) -> str:
        """Ask for a checkpoint at the next step; returns the id of the command.

        Raises:
            RunError: nobody is training it.
        """
        status = self.status
        if not status.active and status.orphan_pid is None:
            raise RunError(
                f"The run {self.id} is not training.",
                expected="a run that is starting or running",
                received=status.state,
                fix="resume it first",
            )
        return send(self.directory, "checkpoint").id

    def resume(self, overrides: Sequence[str] = ()) -> Run:
        """Go on from the last checkpoint, or from the beginning where there is none; returns at once.

        A trainer that lost its supervisor is ended first, in order.

        Args:
            overrides: `key=value` for settings that do not change what is trained, such as `train.steps=2000`.

        Raises:
            RunError: it is being trained, or has done all its steps.
            ConfigError: an override that would make it another training.
        """
        plan_resume(self.directory, overrides)
        if end_orphan(self.directory):
            plan_resume(self.directory, overrides)  # from the checkpoint it has written now
        start_supervisor(self.directory, overrides)
        return self

    def queue(self, overrides: Sequence[str] = ()) -> Run:
        """As `resume`, when its turn has come.

        Raises:
            RunError: it is being trained, or has done all its steps.
            ConfigError: an override that would make it another training.
        """
        plan_resume(self.directory, overrides)
        enqueue(self.directory, overrides)
        return self

    def end_orphan(self) -> bool:
        """End a trainer that lost its supervisor, with a checkpoint; whether there was one."""
        return end_orphan(self.directory)

    def clone(self, changes: Mapping[str, Any] | None = None) -> RunConfig:
        """The configuration of a new run like this one.

        Args:
            changes: dotted key → value, such as `{"train.learning_rate": 1e-3}`.

        Raises:
            ConfigError: an unknown key or a value that does not fit.
        """
        return self.config.replace({"name": None, **(changes or {})})

    def _ended_badly(self, status: RunStatus) -> RunError:
        last = self.latest_checkpoint()
        where = f"goes on from step {last.step}" if last else "starts it from its beginning"
        return ended_badly(
            f"The run {self.id}",
            status,
            expected="a run that is queued, starting or running",
            start="start it with .resume()",
            go_on=f"run.resume() {where}",
        )


def train(config: RunConfig, *, queue: bool = False) -> Run:
    """Start a training in a process of its own and return at once; it goes on when this process ends.

    Args:
        config: what to train.
        queue: wait until the runs before it in the same folder have ended.

    Raises:
        ConfigError: it cannot fit in memory.
        PluginError: there is no such model.
        RunError: the name is taken, or the folder cannot be written.
    """
    check_before_start(config, memory=not queue)
    run = Run(RunDirectory.create(config, command=command_line(config)))
    start = enqueue if queue else start_supervisor
    start(run.directory)
    return run


def resume(
    run: Run | RunDirectory | str | Path, overrides: Sequence[str] = (), *, runs_dir: str | Path = "runs"
) -> Run:
    """Go on with a run in a process of its own and return at once.

    Args:
        run: the run, its folder, id or name.
        overrides: `key=value` for settings that do not change what is trained, such as `train.steps=2000`.
        runs_dir: where ids are looked up.

    Raises:
        RunError: it is being trained, or has done all its steps.
        ConfigError: an override that would make it another training.
    """
    return open_run(run, runs_dir).resume(overrides)


def open_run(run: Run | RunDirectory | str | Path, runs_dir: str | Path = "runs") -> Run:
    """The run of that folder, id, name, unique beginning or end of an id; `latest` is the newest one.

    Raises:
        RunError: there is none, or the name fits several.
    """
    if isinstance(run, Run):
        return run
    return Run(run if isinstance(run, RunDirectory) else RunDirectory.open(run, runs_dir))
