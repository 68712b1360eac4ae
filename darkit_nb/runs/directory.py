"""`RunDirectory`: the folder that is a run, and the only state its processes share."""

from __future__ import annotations

import os
import shlex
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from darkit_nb.config import RunConfig, dump_yaml, load_config
from darkit_nb.config.names import check_name
from darkit_nb.errors import RunError
from darkit_nb.runs import checkpoints, identity, lock, naming
from darkit_nb.runs.checkpoints import Checkpoint
from darkit_nb.runs.files import SCHEMA, append_line, from_json, sweep_removed, to_json, write_atomic, writing
from darkit_nb.runs.layout import RunFiles
from darkit_nb.runs.metrics import MetricsReader, Record, last_attempts
from darkit_nb.runs.status import ACTIVE, ENDED, QUEUED, RECORDED, RunStatus, derive_state, read_status


class RunDirectory(RunFiles):
    """One run on disk. Make it with `create`, find it with `open`.

    Readers need nothing but the folder. There is one writer at a time, which holds `lock()`.

    Args:
        root: The run's folder.
    """

    def __init__(self, root: str | Path) -> None:
        super().__init__(root)
        self._attempt: int | None = None
        self._status_lock = threading.Lock()

    @classmethod
    def create(cls, config: RunConfig, *, command: str | Sequence[str]) -> RunDirectory:
        """Make the folder of a new run and write its configuration, command and environment.

        Args:
            config: What the run is to do; `runs_dir` and `name` say where it lies and what it is called.
            command: The command that starts it, as text or as a list of arguments.

        Raises:
            RunError: the name is taken, or the folder cannot be written.
        """
        runs_dir = Path(config.runs_dir).expanduser()
        with writing(runs_dir):
            runs_dir.mkdir(parents=True, exist_ok=True)
        text = command if isinstance(command, str) else shlex.join(command)
        with lock.exclusive(runs_dir / ".lock", f"The list of runs in {runs_dir}", wait_seconds=10.0):
            sweep_removed(runs_dir)
            run = cls(_claim(runs_dir, config))
            try:
                write_atomic(run.root / "command.txt", text.rstrip("\n") + "\n")
                write_atomic(run.root / "env.json", to_json({"schema": SCHEMA, **identity.environment()}) + "\n")
                run.write_status(state="created")
                write_atomic(run.config_path, dump_yaml(config))  # last: with it the folder counts as a run
            except BaseException:
                shutil.rmtree(run.root, ignore_errors=True)
                raise
        return run

    @classmethod
    def open(cls, path_or_id: str | os.PathLike[str], runs_dir: str | Path = "runs") -> RunDirectory:
        """The run of that folder, id, name, unique beginning or end of an id; `latest` is the newest one.

        Raises:
            RunError: there is none, or the name fits several.
        """
        return cls(naming.find(os.fspath(path_or_id), Path(runs_dir).expanduser()))

    def read_config(self) -> RunConfig:
        """The configuration the run was made with.

        Raises:
            ConfigError: the file is missing, damaged, or from a newer version.
        """
        return load_config(self.config_path)

    # -- status ----------------------------------------------------------------------------------------------------

    def read_status(self) -> RunStatus:
        """What the run is doing; its `.state` is derived from heartbeat, host, boot and process."""
        return read_status(self.root)

    def write_status(self, **fields: Any) -> None:
        """Change fields of the status and renew the heartbeat, atomically.

        With `state="running"` or `"starting"` the status also names this process, unless a `pid` is given. An end state
        gets its time.

        Args:
            fields: `state` (created, starting, running, finished, stopped, failed), `step`, `total_steps`, `message`,
                or any plain data of the caller's.

        Raises:
            RunError: an unknown state; or a full disk or unwritable folder, which leave the old status intact.
        """
        state = fields.get("state")
        if state is not None and state not in RECORDED:
            raise RunError(
                f"A run cannot be {state!r}.", expected=f"one of {', '.join(RECORDED)}", received=f"state={state!r}"
            )
        now = time.time()
        derived: dict[str, Any] = {"heartbeat": now}
        if state in ACTIVE and "pid" not in fields:
            derived |= identity.this_process()
        if state in ENDED:
            derived["ended"] = now
        with self._status_lock:
            try:
                before = from_json(self.status_path.read_bytes())
            except (OSError, ValueError):
                before = {}
            write_atomic(self.status_path, to_json({**before, **derived, **fields, "schema": SCHEMA}) + "\n")

    # -- metrics and events ----------------------------------------------------------------------------------------

    @property
    def attempt(self) -> int:
        """Number of the current start of this run, reserved ones included; 0 before the first."""
        if self._attempt is not None:
            return self._attempt
        started = [event["attempt"] for event in self.read_events() if event.get("kind") == "attempt"]
        status = self.read_status()
        self._attempt = found = max([status.attempt, status.launch.attempt if status.launch else 0, *started])
        return found

    def begin_attempt(self, *, state: str = "running", number: int | None = None) -> int:
        """Count a new start, clear away what a killed one left, and say that the run is running.

        Call it while holding `lock()`.

        Args:
            state: `running`, or `starting` while data and model are prepared.
            number: The number its supervisor has reserved for it; the next one where there is none.
        """
        self._attempt = None  # another process may have started it since
        self._attempt = number = self.attempt + 1 if number is None else number
        checkpoints.sweep(self.checkpoints_path)
        self.append_event("attempt", **identity.this_process())
        now = time.time()
        self.write_status(state=state, attempt=number, started=now, ended=None, message=None, problem=None)
        with suppress(OSError):
            (self.root / QUEUED).unlink()  # its turn has come, also where a terminal did not wait for it
        return number

    def append_metrics(self, record: Record) -> None:
        """Append one measurement; `schema`, `attempt` and `time` are added.

        Args:
            record: At least `kind` and `step`; numbers that are not finite are kept.

        Raises:
            RunError: full disk or unwritable folder; earlier lines are intact.
        """
        append_line(self.metrics_path, {"schema": SCHEMA, "attempt": self.attempt, "time": time.time(), **record})

    def append_event(self, kind: str, **fields: Any) -> None:
        """Append one event, such as a start, a checkpoint, a stop or an acknowledgement.

        Raises:
            RunError: full disk or unwritable folder; earlier lines are intact.
        """
        head = {"schema": SCHEMA, "attempt": self.attempt, "time": time.time(), "kind": kind}
        append_line(self.events_path, {**head, **fields})

    def read_metrics(self) -> list[Record]:
        """Measurements ordered by step, each (step, kind) once: that of the last attempt. Bad lines are skipped."""
        return last_attempts(MetricsReader(self.metrics_path).read())

    def read_events(self) -> list[Record]:
        """All events in the order they were written. Bad lines are skipped."""
        return MetricsReader(self.events_path).read()

    # -- writing ---------------------------------------------------------------------------------------------------

    @contextmanager
    def lock(self) -> Iterator[RunDirectory]:
        """Be the one writer of this run for the length of a block; a killed writer's lock is free at once.

        Raises:
            RunError: another writer is at work, here or on another machine; or the folder is not writable.
        """
        with lock.exclusive(self.root / ".lock", f"The run {self.id}"):
            status = replace(self.read_status(), launch=None, queued=None)  # whose supervisor may be waiting for us
            if derive_state(status)[0] in ACTIVE and status.host != identity.host():
                raise RunError(
                    f"The run {self.id} is being written on {status.host}.",
                    expected="one writer at a time",
                    received=f"a heartbeat {time.time() - (status.heartbeat or 0):.0f} seconds ago",
                    fix="stop it there; after a crash there, wait a minute",
                )
            yield self

    def checkpoints(self) -> list[Checkpoint]:
        """Complete checkpoints, oldest first."""
        return checkpoints.list_checkpoints(self.checkpoints_path)

    def latest_checkpoint(self) -> Checkpoint | None:
        """The newest complete checkpoint."""
        return max(self.checkpoints(), default=None)

    def require_checkpoint(self, step: int | None = None) -> Checkpoint:
        """The newest complete checkpoint, or the one of a step.

        Raises:
            RunError: there is none; the steps there are are named.
        """
        found = {checkpoint.step: checkpoint for checkpoint in self.checkpoints()}
        wanted = max(found, default=None) if step is None else step
        if wanted in found:
            return found[wanted]
        steps = ", ".join(map(str, sorted(found)))
        raise RunError(
            f"The run {self.id} has no complete checkpoint" + ("." if step is None else f" of step {step}."),
            expected="a checkpoint written to its end",
            received=f"checkpoints of the steps {steps}" if found else "none",
            cause=None if found else "it ended before the first one was written",
            fix=f"choose one of the steps {steps}" if found else f"darkit-nb resume {self.id}",
        )

    def new_checkpoint(self, step: int, *, owner: bool = True) -> AbstractContextManager[Path]:
        """A folder to write a checkpoint into; it gets its name only when the block ends well.

        In a distributed run exactly one process is the `owner`, and all have written before it leaves the block.

        Raises:
            RunError: full disk or unwritable folder; earlier checkpoints are intact.
        """
        return checkpoints.new_checkpoint(self.checkpoints_path, step, owner=owner)

    def prune_checkpoints(self, keep: int) -> list[Checkpoint]:
        """Remove all but the newest `keep` complete checkpoints; returns the removed ones."""
        return checkpoints.prune(self.checkpoints_path, keep)


def _claim(runs_dir: Path, config: RunConfig) -> Path:
    """Make the folder of a new run; the caller holds the lock of `runs_dir`."""
    if config.name is not None:
        check_name(config.name)
        taken = [run for run in naming.run_folders(runs_dir) if naming.name_of(run.name) == config.name]
        if taken:
            raise RunError(
                f"There is already a run called {config.name!r}.",
                expected=f"a name that no run in {runs_dir} has",
                received=taken[-1].name,
                fix=f"choose another name, or go on with it: darkit-nb resume {taken[-1].name}",
            )
    while True:
        root = runs_dir / naming.new_id(config.name or naming.slug(Path(config.model.path or config.model.preset).name))
        try:
            with writing(root):
                root.mkdir()
            return root
        except RunError as error:
            if not isinstance(error.__cause__, FileExistsError):
                raise


def list_runs(runs_dir: str | Path = "runs") -> list[RunDirectory]:
    """All runs of a folder, oldest first; an absent folder has none."""
    return [RunDirectory(folder) for folder in naming.run_folders(Path(runs_dir).expanduser())]
