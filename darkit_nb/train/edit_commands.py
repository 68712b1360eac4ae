"""What is asked of the code of a model that trains, carried out at a step boundary."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkit_nb.edit import trust as trusting
from darkit_nb.edit.validate import validate
from darkit_nb.errors import DarkitError, PatchError, RunError
from darkit_nb.records.patch import Patch, PatchProblem, Validation
from darkit_nb.runs.control import Command, acknowledge
from darkit_nb.runs.patch_history import read_patches
from darkit_nb.runs.patching import TRIAL_STEPS, is_dry_run
from darkit_nb.train.attempt import Attempt
from darkit_nb.train.edit_stack import EditStack, InEffect, nothing_drawn, problem_at
from darkit_nb.train.edits import RunEdits

if TYPE_CHECKING:
    from darkit_nb.train.trainer import RunTrainer

_SAMPLE = 2
"""Windows of the next batch on which an edit is checked."""


class EditCommands:
    """Checks edits and puts them in, takes them back, and repeats those of a fork.

    Args:
        attempt: the start of the run this is.
        edits: what the run begins with.
        stack: the edits in the model.
    """

    def __init__(self, attempt: Attempt, edits: RunEdits, stack: EditStack) -> None:
        self.run, self.active, self.control = attempt.run, attempt.active, attempt.control
        self._stack, self._fork, self._replay = stack, edits.fork, deque(edits.replay)

    @property
    def repeats(self) -> bool:
        """Whether a fork's schedule is still to be repeated."""
        return bool(self._replay)

    @property
    def needs_checkpoint(self) -> bool:
        """Whether what is asked next changes the model, which is saved before."""
        edits = self.control.edits
        return bool(edits) and not is_dry_run(edits[0])

    def act(self, trainer: RunTrainer, inputs: dict[str, Any], *, saved: bool) -> None:
        """What is to be done between two steps.

        Args:
            trainer: the trainer.
            inputs: the batch that comes next.
            saved: whether there is a checkpoint of the model as it is.
        """
        step = trainer.state.global_step
        while self._replay and self._replay[0].step <= step:
            self._repeat(trainer, step)
        if not self.control.edits or (self.needs_checkpoint and not saved):
            return
        command, before = self.control.edits.popleft(), len(self._stack.inside)
        try:
            if is_dry_run(command):
                self._try(trainer, command, inputs, step)
            elif command.command == "patch":
                self._patch(trainer, command, inputs, step)
            else:
                self._revert(trainer, command, step)
        except Exception as error:
            if len(self._stack.inside) != before:
                raise  # it was done and could not be written down: the disk is full
            problems = [problem_at(error)] if isinstance(error, PatchError) else []
            self._refuse(command, error, problems, step)

    def _try(self, trainer: RunTrainer, command: Command, inputs: dict[str, Any], step: int) -> None:
        given = command.arguments.get("patch")
        found = _checked(trainer, Patch.from_dict(given if isinstance(given, dict) else {}), inputs)
        acknowledge(self.run, command, step=step, dry_run=True, validation=found.to_dict())

    def _patch(self, trainer: RunTrainer, command: Command, inputs: dict[str, Any], step: int) -> None:
        path = self._path_of(command)
        number, patch = int(path.name.split("-")[0]), Patch.from_json(path.read_bytes())
        trial = command.arguments.get("trial_steps", TRIAL_STEPS)
        checked = _checked(trainer, patch, inputs)
        if not checked.ok:
            first = checked.problems[0]
            details = {name: getattr(first, name) for name in ("expected", "received", "cause", "fix")}
            raise_as = PatchError(str(first), line=first.line, **details)
            self._refuse(command, raise_as, list(checked.problems), step)
            return
        applied = self._stack.put_in(trainer, patch, step, checked=checked)
        with suppress(DarkitError):  # then whoever loads the checkpoint is asked
            trusting.remember(trusting.patch_hash(applied.patch), f"{patch.label}, in the run {self.run.id}")
        until = step + max(1, trial if isinstance(trial, int) else TRIAL_STEPS)
        who = str(command.arguments.get("who", ""))
        self._stack.add(InEffect(number, patch, until, command, who, applied.patch.id), step, effect=applied)

    def _revert(self, trainer: RunTrainer, command: Command, step: int) -> None:
        count = command.arguments.get("count", 1)
        if type(count) is not int or not 1 <= count <= len(self._stack.inside):
            raise PatchError(
                "There are not that many edits to take back.",
                expected=f"1 to {len(self._stack.inside)}" if self._stack.inside else "a run whose model was edited",
                received=str(count),
            )
        taken = self._stack.inside[-count:][::-1]
        for each in taken:
            if each.command is not None:
                acknowledge(self.run, each.command, step=step, number=each.number)
        self._stack.remove(trainer, count)
        for each in taken:
            said = each.facts() | {"who": str(command.arguments.get("who", ""))}
            self.run.append_event("revert", step=step, reason="asked", **said)
        acknowledge(self.run, command, step=step, numbers=[each.number for each in taken])

    def _repeat(self, trainer: RunTrainer, step: int) -> None:
        """The next step of the fork's schedule, without checks: it has held once."""
        action, fork = self._replay.popleft(), self._fork
        assert fork is not None  # noqa: S101 - a schedule comes from a fork
        patch = fork.patches[action.number - 1]
        if action.action == "patch":
            self._stack.put_in(trainer, patch, step)
            self._stack.add(InEffect(self._stack.number_of(patch), patch), step, reason="replay")
            return
        if not self._stack.inside:
            raise PatchError(
                "The fork's schedule takes back more than it puts in.",
                expected=f"{patch.label} in the model",
                received="no edit",
                fix="train without model.fork_replay",
            )
        taken = self._stack.inside[-1]
        self._stack.remove(trainer, 1)
        if self.active:
            self.run.append_event("revert", step=step, reason="replay", **taken.facts())

    def _path_of(self, command: Command) -> Path:
        name = command.arguments.get("file")
        known = {each.path.name: each.path for each in read_patches(self.run)}
        if name not in known:
            raise RunError(
                "The command names no patch of this run.",
                expected=f"a file in {self.run.patches_path}",
                received=repr(name),
            )
        return known[name]

    def _refuse(self, command: Command, error: Exception, problems: list[Any], step: int) -> None:
        number = {}
        with suppress(DarkitError):
            number = {"number": int(self._path_of(command).name.split("-")[0])} if command.command == "patch" else {}
        plain = [each.to_dict() if isinstance(each, PatchProblem) else each for each in problems]
        acknowledge(self.run, command, step=step, error=error, problems=plain, **number)


def _checked(trainer: RunTrainer, patch: Patch, inputs: dict[str, Any]) -> Validation:
    sample = {"input_ids": inputs["input_ids"][:_SAMPLE]}
    with nothing_drawn():
        return validate(trainer.edited_model, patch, inputs=sample)
