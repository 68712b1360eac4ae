"""What was asked of a run's model, and its answer: by the live trainer, or by a worker where nobody trains."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from darkit_nb.errors import ConfigError, RunError
from darkit_nb.runs import identity, lock
from darkit_nb.runs.control import Command, send
from darkit_nb.runs.directory import RunDirectory
from darkit_nb.runs.files import SCHEMA, from_json, to_json, write_atomic
from darkit_nb.runs.log import LogReader
from darkit_nb.runs.metrics import MetricsReader
from darkit_nb.runs.processes import detached, reap, working_folder
from darkit_nb.runs.workers import is_conversion

if TYPE_CHECKING:
    from darkit_nb.records.snapshot import SpikeSnapshot
    from darkit_nb.records.trace import ModelTrace

MAX_CHARACTERS = 100_000
WORKER_FILE = "worker.json"
WORKER_LOG = "worker.log"
WORKER_LOCK = ".worker.lock"

RequestKind = Literal["probe", "generate", "trace"]
RequestState = Literal["waiting", "running", "done", "failed"]
_POLL_SECONDS = 0.1
_ENDINGS = {"probe": "safetensors", "generate": "jsonl", "trace": "trace.json"}


def ask(run: RunDirectory, kind: RequestKind, arguments: Mapping[str, Any]) -> Request:
    """Write a request to a run, and see to it that somebody answers.

    Args:
        run: The run.
        kind: What is wanted.
        arguments: As `Run.probe`, `Run.generate` and `Run.trace` take them.

    Raises:
        ConfigError: a text that cannot be meant.
        RunError: the run's folder is gone or cannot be written.
    """
    text = arguments.get("text", arguments.get("prompt")) or ""
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(
            "The text is far too long to be read by a model.",
            expected=f"at most {MAX_CHARACTERS:,} characters",
            received=f"{len(text):,} characters",
            fix="shorten it to the passage you mean",
        )
    request = Request(run, send(run, kind, arguments))
    request.refresh()
    return request


class Request:
    """One probe, generation or trace.

    Args:
        run: Of whose model it was asked.
        command: The line in its `control.jsonl`.

    Attributes:
        problem: Why it failed, in the form of `DarkitError.to_dict`; None otherwise.
        step: Training step of the weights that answered; None before.
    """

    def __init__(self, run: RunDirectory, command: Command) -> None:
        self.run, self.command = run, command
        self.problem: dict[str, Any] | None = None
        self.step: int | None = None
        self._state: RequestState = "waiting"
        self._events = MetricsReader(run.events_path)
        self._lines = MetricsReader(self.path)
        self._tokens: list[dict[str, Any]] = []
        self._saw_worker = False

    def __repr__(self) -> str:
        told = f": {self.problem['message']}" if self.problem else ""
        return f"Request({self.kind} {self.id} of {self.run.id}, {self._state}{told})"

    @property
    def id(self) -> str:
        """Twelve hex digits."""
        return self.command.id

    @property
    def kind(self) -> str:
        """probe, generate or trace."""
        return self.command.command

    @property
    def state(self) -> RequestState:
        """waiting, running, done or failed, looked up now."""
        return self.refresh()

    @property
    def path(self) -> Path:
        """The file that holds, or will hold, the answer."""
        return self.run.spikes_path / f"{self.id}.{_ENDINGS[self.kind]}"

    def refresh(self) -> RequestState:
        """Look whether it was answered; where nobody is there to do so, start a worker."""
        if self._state in ("waiting", "running"):
            self._read_events()
        if self._state in ("waiting", "running"):
            self._look_after()
        return self._state

    def wait(self, timeout_s: float = 60.0) -> Request:
        """Wait for the answer.

        Raises:
            RunError: it failed, or did not come in time.
        """
        end = time.monotonic() + timeout_s
        while self.refresh() in ("waiting", "running"):
            if time.monotonic() >= end:
                raise RunError(
                    f"The run {self.run.id} has not answered in {timeout_s:g} seconds.",
                    expected=f"an answer to the {self.kind} {self.id}",
                    received=self._state,
                    cause="the trainer is preparing data, or is in a long step or evaluation",
                    fix="wait again",
                )
            time.sleep(_POLL_SECONDS)
        if self._state == "failed":
            problem = self.problem or {}
            raise RunError(
                problem.get("message") or "The request failed.",
                **{name: problem.get(name) for name in ("expected", "received", "cause", "fix")},
            )
        return self

    def cancel(self) -> None:
        """Ask for a generation to end at its next token; what it has said by then stays, and it counts as done.

        Raises:
            RunError: the run's folder is gone or cannot be written.
        """
        if self._state in ("waiting", "running"):
            send(self.run, "cancel", {"request": self.id})

    def tokens(self) -> list[dict[str, Any]]:
        """Tokens generated so far: `index`, `id`, `text`, `firing_rate`, `energy_pj`, `unary_events`, `seconds`."""
        self._tokens += self._lines.read() if self.kind == "generate" else []
        return list(self._tokens)

    def snapshot(self) -> SpikeSnapshot:
        """The spikes of a probe that is done.

        Raises:
            RunError: it is not done, or was no probe.
        """
        from darkit_nb.records.snapshot import SpikeSnapshot

        self._require("probe", "There are no spikes to show.")
        return SpikeSnapshot.load(self.path)

    def trace(self) -> ModelTrace:
        """The tree of modules of a trace that is done.

        Raises:
            RunError: it is not done, or was no trace.
            ModelError: its file is gone or damaged, or a newer version wrote it.
        """
        from darkit_nb.records.trace_file import read_trace

        self._require("trace", "There is no trace to show.")
        return read_trace(self.path)

    def _require(self, kind: RequestKind, message: str) -> None:
        if self.kind != kind or self.refresh() != "done":
            raise RunError(
                message,
                expected=f"a {kind} that is done",
                received=f"a {self.kind}, {self._state}",
                fix="call .wait() first",
            )

    def _read_events(self) -> None:
        for event in self._events.read():
            if event.get("command_id") != self.id:
                continue
            if event.get("kind") == "request":
                self._state = "running"
            elif event.get("kind") == "ack":
                step = event.get("step")
                self.step = step if isinstance(step, int) else None
                self._settle(None if event.get("ok") else event.get("problem") or {"message": "The request failed."})

    def _settle(self, problem: dict[str, Any] | None) -> None:
        self.problem = problem
        self._state = "failed" if problem else "done"

    def _look_after(self) -> None:
        if not self.run.root.is_dir():
            self._settle(_problem("The run's folder is gone.", fix="it was deleted or moved; choose another run"))
            return
        status = self.run.read_status()
        trains = (status.active or status.orphan_pid is not None) and not is_conversion(self.run.root)
        if trains:
            self._saw_worker = False
        elif worker_alive(self.run.root):
            self._saw_worker = True
        elif not self._saw_worker:
            try:
                start_worker(self.run)
                self._saw_worker = True
            except RunError as error:
                self._settle(error.to_dict())
        else:
            self._read_events()  # it may have answered between our last look and its end
            if self._state in ("waiting", "running"):
                said = LogReader(self.run.root / WORKER_LOG).tail(1)
                self._settle(
                    _problem(
                        "The process that was to answer ended without an answer.",
                        expected=f"an answer to the {self.kind} {self.id}",
                        received=said or None,
                        cause="it was killed, or memory ran out",
                        fix=f"ask again; {WORKER_LOG} in the run's folder says more",
                    )
                )


def _problem(message: str, **parts: str | None) -> dict[str, Any]:
    return {"message": message, "expected": None, "received": None, "cause": None, "fix": None, **parts}


def worker_alive(root: Path) -> bool:
    """Whether a worker of this machine answers for a run."""
    try:
        found = from_json((root / WORKER_FILE).read_bytes())
        if found["host"] != identity.host() or found["boot_id"] != identity.boot_id():
            return False
        return identity.process_started(found["pid"]) == found["process_started"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def release(run: RunDirectory) -> None:
    """Let the worker of a run end as soon as it has answered what was asked; without one nothing happens.

    Raises:
        RunError: the run's folder cannot be written.
    """
    if worker_alive(run.root):
        send(run, "release")


def start_worker(run: RunDirectory) -> None:
    """Start the worker of a run, unless there is one.

    Raises:
        RunError: the run's folder cannot be written.
    """
    root = run.root.resolve()
    with lock.exclusive(root / WORKER_LOCK, f"The worker of the run {run.id}", wait_seconds=10.0):
        if worker_alive(root):
            return
        arguments = [str(root)]
        process = detached("darkit_nb.train.probe_worker", arguments, log=root / WORKER_LOG, cwd=working_folder(root))
        reap(process)
        started = identity.process_started(process.pid)
        who = {"pid": process.pid, "process_started": started, "host": identity.host(), "boot_id": identity.boot_id()}
        write_atomic(root / WORKER_FILE, to_json({"schema": SCHEMA, **who}) + "\n")
