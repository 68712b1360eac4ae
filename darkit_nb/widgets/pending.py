"""Commands that a run was given and has not acknowledged yet, whoever gave them."""

from __future__ import annotations

from collections.abc import Iterable

from darkit_nb.runs.control import Command
from darkit_nb.runs.directory import RunDirectory
from darkit_nb.runs.metrics import MetricsReader, Record
from darkit_nb.runs.status import RunStatus

_SHOWN = ("stop", "checkpoint")


class PendingCommands:
    """Reads a run's `control.jsonl` beside its events, so that two notebooks see what the other one asked for.

    Args:
        run: the run.
    """

    def __init__(self, run: RunDirectory) -> None:
        self._control = MetricsReader(run.control_path)
        self._asked: dict[str, Command] = {}
        self._answered: set[str] = set()

    def acknowledge(self, events: Iterable[Record]) -> None:
        """Take note of the acknowledgements among new events."""
        self._answered |= {str(event.get("command_id")) for event in events if event.get("kind") == "ack"}

    def read(self, status: RunStatus) -> dict[str, float]:
        """Command → Unix time it was asked for, for those the run may still obey."""
        for record in self._control.read():
            command = Command.read(record)
            if command is not None and command.command in _SHOWN:
                self._asked[command.id] = command
        if not status.active and status.orphan_pid is None:
            self._asked.clear()
        attempt = max(status.attempt, status.launch.attempt if status.launch else 0)
        self._asked = {
            key: command
            for key, command in self._asked.items()
            if key not in self._answered and command.attempt >= attempt
        }
        found: dict[str, float] = {}
        for command in self._asked.values():
            found.setdefault(command.command, command.time)
        return found
