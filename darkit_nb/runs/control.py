"""Commands to a run: appended by whoever watches it, obeyed and acknowledged by its trainer, or by a worker."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from darkit_nb.errors import RunError, problem_of
from darkit_nb.runs.directory import RunDirectory
from darkit_nb.runs.files import SCHEMA, append_line
from darkit_nb.runs.metrics import MetricsReader, Record
from darkit_nb.runs.status import read_status

COMMANDS = ("stop", "checkpoint", "patch", "revert", "probe", "generate", "trace", "cancel", "release")
REQUESTS = ("probe", "generate", "trace")
"""Commands with an answer of their own, which a worker gives when no trainer is at work."""

_ID = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True, kw_only=True)
class Command:
    """One line of `control.jsonl`.

    Attributes:
        id: Twelve hex digits.
        command: One of `COMMANDS`.
        arguments: Plain data.
        time: Unix time of asking.
        attempt: The start of the run that was meant; a stop never reaches a later one.
    """

    id: str
    command: str
    arguments: dict[str, Any] = field(default_factory=dict)
    time: float = 0.0
    attempt: int = 0

    @classmethod
    def read(cls, record: Record) -> Command | None:
        """The command of a parsed line; None for a line that is no command."""
        identity, command, arguments = record.get("id"), record.get("command"), record.get("arguments", {})
        if not isinstance(identity, str) or not _ID.fullmatch(identity) or command not in COMMANDS:
            return None
        if not isinstance(arguments, dict):
            return None
        attempt = record.get("attempt", 0)
        asked = record.get("time", 0.0)
        return cls(
            id=identity,
            command=command,
            arguments=arguments,
            time=asked if isinstance(asked, int | float) else 0.0,
            attempt=attempt if isinstance(attempt, int) else 0,
        )


def send(run: RunDirectory, command: str, arguments: Mapping[str, Any] | None = None) -> Command:
    """Append a command to a run's `control.jsonl`.

    Raises:
        RunError: an unknown command; a folder that is gone or cannot be written.
    """
    if command not in COMMANDS:
        raise RunError(
            f"A run knows no command {command!r}.", expected=f"one of {', '.join(COMMANDS)}", received=repr(command)
        )
    status = read_status(run.root)
    attempt = max(status.attempt, status.launch.attempt if status.launch else 0)
    sent = Command(
        id=secrets.token_hex(6), command=command, arguments=dict(arguments or {}), time=time.time(), attempt=attempt
    )
    line = {"id": sent.id, "time": sent.time, "attempt": attempt, "command": command, "arguments": sent.arguments}
    append_line(run.control_path, {"schema": SCHEMA, **line})
    return sent


def acknowledge(
    run: RunDirectory, command: Command, *, step: int | None, error: BaseException | None = None, **details: Any
) -> None:
    """Write to `events.jsonl` that a command was carried out, or why it could not be."""
    head = {"command_id": command.id, "command": command.command, "ok": error is None, "step": step}
    run.append_event("ack", **head, problem=problem_of(error) if error else None, **details)


class CommandReader:
    """Tails the commands of a run for the one process that obeys them.

    Each command is handed out once: not those acknowledged before, not a line written twice, and no stop or checkpoint
    that was meant for an earlier start of the run.

    Args:
        run: The run.
        kinds: Commands to hand out; others are passed over.
        attempt: The start whose stops and checkpoints count; None takes those of any.
    """

    def __init__(self, run: RunDirectory, *, kinds: tuple[str, ...] = COMMANDS, attempt: int | None = None) -> None:
        self._reader = MetricsReader(run.control_path)
        self._kinds, self._attempt = kinds, attempt
        events = run.read_events()
        self._seen = {event.get("command_id") for event in events if event.get("kind") == "ack"}
        self.interrupted = {event.get("command_id") for event in events if event.get("kind") == "request"} - self._seen
        """Requests that another process began to answer and never ended."""

    def read(self) -> list[Command]:
        """Commands that came since the last call."""
        found = []
        for record in self._reader.read():
            command = Command.read(record)
            if command is None or command.id in self._seen or command.command not in self._kinds:
                continue
            self._seen.add(command.id)
            late = self._attempt is not None and command.attempt != self._attempt
            if not (late and command.command not in REQUESTS):
                found.append(command)
        return found


class Cancellation:
    """Tells whoever answers a request whether the one who asked still wants the answer.

    Args:
        run: The run that was asked.
        request_id: Of the request; a command `cancel` names it under `request`.
    """

    def __init__(self, run: RunDirectory, request_id: str) -> None:
        self._reader, self._request_id, self._asked = MetricsReader(run.control_path), request_id, False

    def asked(self) -> bool:
        """Whether it was cancelled, looked up now."""
        commands = (Command.read(record) for record in ([] if self._asked else self._reader.read()))
        self._asked |= any(
            each is not None and each.command == "cancel" and each.arguments.get("request") == self._request_id
            for each in commands
        )
        return self._asked
