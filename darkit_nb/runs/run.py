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
from darkit_nb.runs.handle import Handle
from darkit_nb.runs.launcher import start_supervisor
from darkit_nb.runs.queue import enqueue
from darkit_nb.runs.resuming import plan_resume
from darkit_nb.runs.run_edits import EditableRun
from darkit_nb.runs.run_requests import AskableRun
from darkit_nb.runs.status import RunStatus

if TYPE_CHECKING:
    import pandas


class Run(Handle, AskableRun, EditableRun):
    """One run, wherever it is trained.

    In a notebook a run shows itself as a live panel; elsewhere as one line of text.

    Args:
        directory: the run's folder.
    """

    def __fspath__(self) -> str:
        return str(self.directory.root)

    def __repr__(self) -> str:
        status = self.status
        parts = [f"Run {self.id}: {status.state}" + (f" (place {status.place})" if status.place else "")]
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
    def name(self) -> str:
        """The readable part of the id."""
        return self.directory.name

    @property
    def config(self) -> RunConfig:
        """The configuration it was made with."""
        return self.directory.read_config()

    @property
    def metrics(self) -> pandas.DataFrame:
        """One row a training step, with the evaluation and the firing rate of the steps that have them."""
        return metrics_frame(self.directory.read_metrics())

    def checkpoints(self) -> list[Checkpoint]:
        """Complete checkpoints, oldest first."""
        return self.directory.checkpoints()

    def latest_checkpoint(self) -> Checkpoint | None:
        """The newest complete checkpoint."""
        return self.directory.latest_checkpoint()

    # -- what can be asked of it -------------------------------------------------------------------------------------

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

    @property
    def _what(self) -> str:
        return f"The run {self.id}"

    def _progress_words(self, status: RunStatus) -> str:
        return f"step {status.step or 0} of {status.total_steps or '?'}"

    def _go_on(self) -> str:
        last = self.latest_checkpoint()
        return f"run.resume() {f'goes on from step {last.step}' if last else 'starts it from its beginning'}"


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
