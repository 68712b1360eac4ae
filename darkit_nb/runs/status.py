"""The state of a run, derived by whoever reads it: a process that died cannot write that it did.

The trainer writes `status.json`, its supervisor `supervisor.json`, and who waits for a place `queued.json`. A training
started from a terminal has no supervisor.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from darkit_nb.errors import RunError
from darkit_nb.runs import identity
from darkit_nb.runs.files import SCHEMA, from_json
from darkit_nb.runs.launch_record import LaunchRecord, read_launch

State = Literal["created", "queued", "starting", "running", "finished", "stopped", "failed", "lost"]
RECORDED = ("created", "starting", "running", "finished", "stopped", "failed")
ENDED = ("finished", "stopped", "failed")
ACTIVE = ("starting", "running")
STALE_SECONDS = 60.0
"""A heartbeat older than this counts as no heartbeat; writers beat every five seconds."""

QUEUED = "queued.json"
_CLOCK_SLACK_SECONDS = 1.5


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """What a run's files say about it, and the state that follows from them.

    Attributes:
        recorded: State as the last writer wrote it; read `state` instead.
        attempt: Times this run was started; 0 before the first.
        step, total_steps: Progress in optimizer steps.
        heartbeat: Unix time of the last write.
        started, ended: Unix times of the current attempt.
        pid, process_started, host, boot_id: The process that is, or was, at work.
        message: Why it ended, or what it is preparing, for people.
        extra: Further fields that writers added; `problem` says why a failed run failed.
        launch: What the supervisor says.
        queued: Unix time since when it waits for its turn.
        place: Its place among the runs and conversions of its folder that wait, 1 for the next; None where it does not
            wait.
        seen: State, reason and orphan as they were when the files were read; None derives them when asked.
    """

    recorded: str = "created"
    attempt: int = 0
    step: int | None = None
    total_steps: int | None = None
    heartbeat: float | None = None
    started: float | None = None
    ended: float | None = None
    pid: int | None = None
    process_started: float | None = None
    host: str | None = None
    boot_id: str | None = None
    message: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    launch: LaunchRecord | None = None
    queued: float | None = None
    place: int | None = None
    seen: tuple[State, str | None, int | None] | None = field(default=None, repr=False)

    @property
    def state(self) -> State:
        """What the run is doing, as far as this machine can tell."""
        return self.seen[0] if self.seen else derive_state(self)[0]

    @property
    def reason(self) -> str | None:
        """Why the state is *lost*, or the message of its end."""
        return self.seen[1] if self.seen else derive_state(self)[1]

    @property
    def active(self) -> bool:
        """Whether a process is at work on it under supervision, or in somebody's terminal."""
        return self.state in ACTIVE

    @property
    def problem(self) -> dict[str, Any] | None:
        """Why the run failed, in the form of `DarkitError.to_dict`."""
        return self.extra.get("problem") if self.state == "failed" else None

    @property
    def orphan_pid(self) -> int | None:
        """The trainer that goes on although its supervisor is gone."""
        return self.seen[2] if self.seen else _orphan(self, _Observer())

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RunStatus:
        """The status of a `status.json` already parsed; unknown fields go to `extra`."""
        names = {info.name for info in fields(cls)} - {"recorded", "extra", "launch", "queued", "place", "seen"}
        known = {name: data[name] for name in names & data.keys()}
        left = data.keys() - names - {"state", "schema"}
        extra = {name: value for name, value in data.items() if name in left and value is not None}
        return cls(recorded=str(data.get("state", "created")), extra=extra, **known)


@dataclass(frozen=True)
class _Observer:
    """Who looks at processes, from where and when."""

    now: float | None = None
    host: str = field(default_factory=identity.host)
    boot_id: str = field(default_factory=identity.boot_id)
    process_started: Callable[[int], float | None] = identity.process_started

    def age(self, heartbeat: float | None) -> float:
        return (time.time() if self.now is None else self.now) - (heartbeat or 0.0)

    def gone(self, who: RunStatus | LaunchRecord, what: str) -> str | None:
        """Why that process is no more; None while it lives, or may live on another machine."""
        if who.host != self.host:
            age = self.age(who.heartbeat)
            return f"no heartbeat for {age:.0f} seconds from {who.host}" if age > STALE_SECONDS else None
        if who.boot_id != self.boot_id:
            return "the machine was restarted while it ran"
        return self.missing(what, who.pid, who.process_started)

    def missing(self, what: str, pid: int | None, started: float | None) -> str | None:
        """Why no process of this machine is the one of that id and start."""
        found = None if pid is None else self.process_started(pid)
        if found is None:
            return f"{what} {pid} is gone"
        if started is None or abs(found - started) > _CLOCK_SLACK_SECONDS:
            return f"{what} is gone, and another one has the id {pid} now"
        return None


def derive_state(
    status: RunStatus,
    *,
    now: float | None = None,
    host: str | None = None,
    boot_id: str | None = None,
    process_started: Callable[[int], float | None] = identity.process_started,
) -> tuple[State, str | None]:
    """State and reason, from what was recorded and what can be seen of the processes.

    On the machine and boot that wrote it the process itself is looked at, by id and start time. From another machine
    only the heartbeat can be judged.
    """
    observer = _Observer(now, host or identity.host(), boot_id or identity.boot_id(), process_started)
    launch = _governing(status)
    state, reason = _supervised(status, launch, observer) if launch else _alone(status, observer)
    if status.queued is not None and state not in ACTIVE and _orphan(status, observer) is None:
        return "queued", None
    return state, reason


def _governing(status: RunStatus) -> LaunchRecord | None:
    """The launch that the run is in: every start has a number of its own, also one from a terminal."""
    return status.launch if status.launch and status.attempt <= status.launch.attempt else None


def _alone(status: RunStatus, observer: _Observer) -> tuple[State, str | None]:
    """A training without a supervisor."""
    if status.recorded in ("created", *ENDED):
        return status.recorded, status.message
    if status.recorded not in ACTIVE:
        return "lost", f"status.json names the unknown state {status.recorded!r}"
    gone = observer.gone(status, "its process")
    age = observer.age(status.heartbeat)
    if gone is None and age > STALE_SECONDS:
        gone = f"no heartbeat for {age:.0f} seconds from {status.host}"
    return ("lost", gone) if gone else (status.recorded, status.message)


def _supervised(status: RunStatus, launch: LaunchRecord, observer: _Observer) -> tuple[State, str | None]:
    begun = status.attempt >= launch.attempt
    if begun and status.recorded not in ACTIVE:
        return _alone(status, observer)
    gone = observer.gone(launch, "its supervisor")
    if gone is None:
        return (status.recorded, status.message) if begun and status.recorded in ACTIVE else ("starting", None)
    orphan = _orphan(status, observer)
    if orphan is not None:
        return "lost", f"{gone}; its work goes on without it, as process {orphan}"
    return "lost", gone


def _orphan(status: RunStatus, observer: _Observer) -> int | None:
    launch = _governing(status)
    if launch is None or launch.ended is not None or launch.host != observer.host or launch.boot_id != observer.boot_id:
        return None
    if observer.gone(launch, "") is None or (status.attempt >= launch.attempt and status.recorded in ENDED):
        return None
    trainer = launch.trainer or {}
    if trainer.get("pid") is None and status.attempt >= launch.attempt:
        trainer = {"pid": status.pid, "process_started": status.process_started}
    pid = trainer.get("pid")
    return pid if pid is not None and observer.missing("", pid, trainer.get("process_started")) is None else None


def read_status(root: Path) -> RunStatus:
    """The status of a run's folder; without a file it is a run just created, an unreadable one reads as *lost*.

    Raises:
        RunError: the file is from a newer version.
    """
    found = _read_files(root)
    if found.state == "lost":
        found = _read_files(root)  # its processes may have written their ends after we read, and gone before we looked
    place = _place(root, found) if found.state == "queued" else None
    return replace(found, place=place, seen=(*derive_state(found), found.orphan_pid))


def queue_order(root: Path, status: RunStatus) -> tuple[float, str]:
    """By what those that wait are sorted: since when, then by name."""
    return status.queued or 0.0, root.resolve().name


def _place(root: Path, status: RunStatus) -> int:
    """Its place among those that wait beside it, read from their markers and states."""
    folder, own = root.resolve().parent, queue_order(root, status)
    with suppress(OSError, RunError):
        others = [marker.parent for marker in folder.glob(f"*/{QUEUED}") if not marker.parent.name.startswith(".")]
        waiting = [queue_order(other, found) for other in others if (found := _read_files(other)).state == "queued"]
        return 1 + sum(other < own for other in waiting)
    return 1


def _read_files(root: Path) -> RunStatus:
    # In this order: who starts a run writes the launch before the marker goes, and a trainer writes its end before its
    # supervisor does. The other way round a reader could miss both.
    queued, launch = _queued_since(root), read_launch(root)
    path = root / "status.json"
    try:
        data = from_json(path.read_bytes())
        if data.get("schema", SCHEMA) > SCHEMA:
            raise RunError(
                f"{path} was written by a newer darkit-nb.",
                expected=f"schema {SCHEMA}",
                received=f"schema {data['schema']}",
                fix="pip install --upgrade darkit-nb",
            )
        status = RunStatus.from_dict(data)
    except FileNotFoundError:
        status = RunStatus()
    except (OSError, ValueError, TypeError) as error:
        status = RunStatus(recorded="unreadable", message=f"{path.name} cannot be read: {error}")
    return _with_supervision(replace(status, launch=launch, queued=queued))


def _with_supervision(status: RunStatus) -> RunStatus:
    """Let the supervisor speak for a trainer that ended without a word."""
    launch = _governing(status)
    if launch is None or launch.ended is None or (status.attempt >= launch.attempt and status.recorded in ENDED):
        return status
    problem = launch.problem or {"message": "The training process ended without saying why."}
    extra = {**status.extra, "problem": problem}
    return replace(
        status,
        recorded="failed",
        attempt=launch.attempt,
        started=launch.started,
        message=problem["message"],
        ended=launch.ended,
        extra=extra,
    )


def _queued_since(root: Path) -> float | None:
    try:
        return float(from_json((root / QUEUED).read_bytes())["time"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
