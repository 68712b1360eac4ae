"""Sending edits to a run that trains, and taking them back."""

from __future__ import annotations

import getpass
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkit_nb.errors import RunError
from darkit_nb.records.patch import Patch, Validation
from darkit_nb.runs import identity, lock
from darkit_nb.runs.control import Command, send
from darkit_nb.runs.directory import RunDirectory
from darkit_nb.runs.files import write_atomic, writing
from darkit_nb.runs.metrics import MetricsReader, Record
from darkit_nb.runs.patch_history import RunPatch, next_number, read_patches

TRIAL_STEPS = 20
"""Steps in which an edit is taken out by itself when something goes wrong."""
_POLL_SECONDS = 0.1


class PatchRefusedError(RunError):
    """A run did not take an edit, or took it out again.

    Attributes:
        problems: each failed check with `check`, `message`, `line` and the parts of a `DarkitError`, as plain data.
    """

    problems: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Sent:
    """An edit, or the wish to take some back, on its way to a run."""

    run: RunDirectory
    command: Command

    def wait(self, timeout_s: float) -> Record:
        """Wait until the trainer has said what came of it.

        Raises:
            PatchRefusedError: it was not done; `problems` says why.
            RunError: no word of it in time, or the training ended before.
        """
        events, end = MetricsReader(self.run.events_path), time.monotonic() + timeout_s
        while True:
            active = _trains(self.run)  # before the events, so that what was written at the end is still read
            for event in events.read():
                if event.get("kind") == "ack" and event.get("command_id") == self.command.id:
                    return self._settled(event)
            if not active or time.monotonic() >= end:
                raise self._no_word(active, timeout_s)
            time.sleep(_POLL_SECONDS)

    def _settled(self, event: Record) -> Record:
        if event.get("ok"):
            return event
        problem = event.get("problem") or {}
        parts = {name: problem.get(name) for name in ("expected", "received", "cause", "fix")}
        error = PatchRefusedError(problem.get("message") or f"The {self.command.command} failed.", **parts)
        error.problems = tuple(event.get("problems") or ())
        raise error

    def _no_word(self, active: bool, timeout_s: float) -> RunError:
        dry = is_dry_run(self.command)
        what, done = ("dry run", "be made") if dry else (self.command.command, "take effect")
        if not active:
            return RunError(
                f"The training of the run {self.run.id} ended before the {what} could {done}.",
                expected="a training that goes on",
                received=self.run.read_status().state,
                fix="resume the run, then send it again",
            )
        return RunError(
            f"The run {self.run.id} has said nothing about the {what} in {timeout_s:g} seconds.",
            expected="a step boundary",
            received="no answer yet" if dry else "no answer yet; it may still come, and run.patches will show it",
            cause="the trainer is in a long step or evaluation, or checks the edit",
            fix="ask again with a longer wait_s" if dry else "wait and look at run.patches",
        )


def send_patch(run: RunDirectory, patch: Patch, *, trial_steps: int = TRIAL_STEPS) -> tuple[int, Sent]:
    """Store an edit with a run and ask its trainer to apply it at the next step boundary.

    Args:
        run: A run that is starting or running.
        patch: What to apply.
        trial_steps: Steps in which it is taken out by itself when something goes wrong.

    Returns: Its number among the run's patches, and the sent command.

    Raises:
        RunError: nobody trains the run, or its folder cannot be written.
    """
    _require_training(run, "patch")
    number = store_patch(run, patch)
    file = patch_file(run, number, patch).name
    return number, Sent(run, send(run, "patch", {"file": file, "trial_steps": trial_steps, "who": who()}))


def send_dry_run(run: RunDirectory, patch: Patch) -> Sent:
    """Ask the trainer of a run to check an edit at the next step boundary as it would before applying it, and no more.

    The edit travels in the command: it is none of the run's patches.

    Raises:
        RunError: nobody trains the run, or its folder cannot be written.
    """
    _require_training(run, "patch")
    return Sent(run, send(run, "patch", {"dry_run": True, "patch": patch.to_dict(), "who": who()}))


def is_dry_run(command: Command) -> bool:
    """Whether an edit is only to be checked."""
    return command.command == "patch" and bool(command.arguments.get("dry_run"))


def checked(answer: Record) -> Validation:
    """What a dry run found, from its acknowledgement."""
    return Validation.from_dict(answer["validation"])


def send_revert(run: RunDirectory, count: int = 1) -> Sent:
    """Ask the trainer of a run to take out its last edits at the next step boundary.

    Raises:
        RunError: nobody trains the run, or fewer edits are in its model.
    """
    _require_training(run, "revert")
    there = [each for each in read_patches(run) if each.state in ("applied", "waiting")]
    if not 1 <= count <= len(there):
        raise RunError(
            f"The run {run.id} has {len(there)} edit{'s' * (len(there) != 1)} that could be taken back.",
            expected=f"count from 1 to {len(there)}" if there else "a run whose model was edited",
            received=f"count={count}",
        )
    return Sent(run, send(run, "revert", {"count": count, "who": who()}))


def store_patch(run: RunDirectory, patch: Patch) -> int:
    """Write an edit into the run's `patches` folder under the next number, which is returned.

    Raises:
        RunError: the folder cannot be written.
    """
    folder = run.patches_path
    with writing(folder):
        folder.mkdir(exist_ok=True)
    with lock.exclusive(folder / ".lock", f"The patches of the run {run.id}", wait_seconds=10.0):
        number = next_number(folder)
        write_atomic(patch_file(run, number, patch), patch.to_json())
    return number


def patch_file(run: RunDirectory, number: int, patch: Patch) -> Path:
    """Where an edit of a run lies."""
    return run.patches_path / f"{number:04d}-{patch.id}.json"


def load_patch(run: RunDirectory, number: int) -> Patch:
    """The edit of that number.

    Raises:
        RunError: there is none.
        PatchError: its file is damaged.
    """
    found = {each.number: each for each in read_patches(run)}
    if number not in found:
        raise RunError(
            f"The run {run.id} has no patch {number}.",
            expected=f"one of {', '.join(map(str, found))}" if found else "a run whose model was edited",
            received=str(number),
        )
    return Patch.from_json(found[number].path.read_bytes())


def waited(run: RunDirectory, number: int, sent: Sent, wait_s: float) -> RunPatch:
    """The record of a sent edit, after it was applied where there is time to wait for that."""
    if wait_s > 0:
        sent.wait(wait_s)
    return next(each for each in read_patches(run) if each.number == number)


def who() -> str:
    """Who sends this, for the history: user and machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        user = "somebody"
    return f"{user}@{identity.host()}"


def _trains(run: RunDirectory) -> bool:
    status = run.read_status()
    return status.active or status.orphan_pid is not None


def _require_training(run: RunDirectory, what: str) -> None:
    if not _trains(run):
        raise RunError(
            f"The run {run.id} is not training, so there is no live model to {what}.",
            expected="a run that is starting or running",
            received=run.read_status().state,
            fix=f"run.resume(), then run.{what}(…) while it starts; or load its last checkpoint and edit that",
        )
