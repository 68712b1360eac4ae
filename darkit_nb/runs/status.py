"""The state of a run, derived by whoever reads it: a process that died cannot write that it did."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from darkit_nb.errors import RunError
from darkit_nb.runs import identity
from darkit_nb.runs.files import SCHEMA, from_json

State = Literal["created", "running", "finished", "stopped", "failed", "lost"]
RECORDED = ("created", "running", "finished", "stopped", "failed")
ENDED = ("finished", "stopped", "failed")
STALE_SECONDS = 60.0
"""A heartbeat older than this counts as no heartbeat; writers beat every five seconds."""

_CLOCK_SLACK_SECONDS = 1.5


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """What `status.json` says, and the state that follows from it.

    Attributes:
        recorded: State as the last writer wrote it; read `state` instead.
        attempt: Times this run was started; 0 before the first.
        step, total_steps: Progress in optimizer steps.
        heartbeat: Unix time of the last write.
        started, ended: Unix times of the current attempt.
        pid, process_started, host, boot_id: The process that is, or was, at work.
        message: Why it ended, for people.
        extra: Further fields that writers added.
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

    @property
    def state(self) -> State:
        """What the run is doing now, as far as this machine can tell."""
        return derive_state(self)[0]

    @property
    def reason(self) -> str | None:
        """Why the state is *lost*, or the message of its end."""
        return derive_state(self)[1]

    @property
    def active(self) -> bool:
        """Whether a process is at work on it."""
        return self.state == "running"

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RunStatus:
        """The status of a `status.json` already parsed; unknown fields go to `extra`."""
        names = {info.name for info in fields(cls)} - {"recorded", "extra"}
        known = {name: data[name] for name in names & data.keys()}
        extra = {name: value for name, value in data.items() if name not in names | {"state", "schema"}}
        return cls(recorded=str(data.get("state", "created")), extra=extra, **known)


def derive_state(
    status: RunStatus,
    *,
    now: float | None = None,
    host: str | None = None,
    boot_id: str | None = None,
    process_started: Callable[[int], float | None] = identity.process_started,
) -> tuple[State, str | None]:
    """State and reason, from what was recorded and what can be seen of the process.

    On the machine and boot that wrote it the process itself is looked at, by id and start time. From another machine
    only the heartbeat can be judged.
    """
    if status.recorded in ("created", *ENDED):
        return status.recorded, status.message
    if status.recorded != "running":
        return "lost", f"status.json names the unknown state {status.recorded!r}"
    if status.host == (host or identity.host()):
        if status.boot_id != (boot_id or identity.boot_id()):
            return "lost", "the machine was restarted while it ran"
        found = process_started(status.pid) if status.pid is not None else None
        if found is None:
            return "lost", f"its process {status.pid} is gone"
        if status.process_started is None or abs(found - status.process_started) > _CLOCK_SLACK_SECONDS:
            return "lost", f"its process is gone, and another one has the id {status.pid} now"
    age = (now or time.time()) - (status.heartbeat or 0.0)
    if age > STALE_SECONDS:
        return "lost", f"no heartbeat for {age:.0f} seconds from {status.host}"
    return "running", None


def read_status(path: Path) -> RunStatus:
    """The status in a file; a missing file is a run just created, an unreadable one reads as *lost*."""
    try:
        data = from_json(path.read_bytes())
        if data.get("schema", SCHEMA) > SCHEMA:
            raise RunError(
                f"{path} was written by a newer darkit-nb.",
                expected=f"schema {SCHEMA}",
                received=f"schema {data['schema']}",
                fix="pip install --upgrade darkit-nb",
            )
        return RunStatus.from_dict(data)
    except FileNotFoundError:
        return RunStatus()
    except (OSError, ValueError, TypeError) as error:
        return RunStatus(recorded="unreadable", message=f"{path.name} cannot be read: {error}")
