"""`supervisor.json`: what the supervisor of a run says about itself and about the trainer it started."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from darkit_nb.runs.files import SCHEMA, from_json, to_json, write_atomic

FILE = "supervisor.json"


@dataclass(frozen=True, kw_only=True)
class LaunchRecord:
    """One start of a run by a supervisor.

    Attributes:
        attempt: The attempt its trainer is to begin.
        pid, process_started, host, boot_id: The supervisor.
        heartbeat: Unix time of its last write.
        started, ended: Unix times of the launch and of the trainer's end.
        trainer: `pid` and `process_started` of the trainer; None before it was started.
        exit: `code` and `signal` with which the trainer ended.
        problem: Why it ended, where the trainer could not say so itself, in the form of `DarkitError.to_dict`.
    """

    attempt: int
    pid: int
    process_started: float | None
    host: str
    boot_id: str
    heartbeat: float
    started: float
    ended: float | None = None
    trainer: dict[str, Any] | None = None
    exit: dict[str, Any] | None = None
    problem: dict[str, Any] | None = None

    def write(self, root: Path) -> None:
        """Replace the record of a run.

        Raises:
            RunError: the disk is full or the folder not writable.
        """
        write_atomic(root / FILE, to_json({"schema": SCHEMA, **asdict(self)}) + "\n")


def read_launch(root: Path) -> LaunchRecord | None:
    """The record in a run's folder; None where there is none that can be read."""
    try:
        data = from_json((root / FILE).read_bytes())
        if data.pop("schema", SCHEMA) > SCHEMA:
            return None
        return LaunchRecord(**{name: data[name] for name in LaunchRecord.__dataclass_fields__ if name in data})
    except (OSError, ValueError, TypeError):
        return None
