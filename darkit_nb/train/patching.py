"""Edits of a model while it trains: put in and taken out between two steps, and taken out again when a step fails."""

from __future__ import annotations

import sys
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor, nn
from transformers import TrainerCallback

from darkit_nb.edit import trust as trusting
from darkit_nb.edit.apply import apply, revert
from darkit_nb.edit.validate import validate
from darkit_nb.errors import DarkitError, PatchError, RunError, TrainingError, problem_of
from darkit_nb.records.patch import Patch, PatchProblem
from darkit_nb.runs.control import Command, acknowledge
from darkit_nb.runs.patch_history import read_patches
from darkit_nb.runs.patching import TRIAL_STEPS, store_patch
from darkit_nb.train.attempt import Attempt
from darkit_nb.train.edits import RunEdits
from darkit_nb.train.step_state import RandomState, StepState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from darkit_nb.train.trainer import RunTrainer

T = TypeVar("T")
_SAMPLE = 2
"""Windows of the next batch on which an edit is checked."""


@dataclass
class _InEffect:
    """An edit that is in the model.

    Attributes:
        number: among the run's patches.
        patch: the edit.
        until: last step in which it counts as new; 0 where it never did.
        command: the request for it, as long as it has no answer.
        who: who asked.
        made: id of the patch as it was applied, after a merge another one.
    """

    number: int
    patch: Patch
    until: int = 0
    command: Command | None = None
    who: str = ""
    made: str = ""

    def facts(self) -> dict[str, Any]:
        """What events say of it."""
        return {"number": self.number, "patch": self.patch.id, "label": self.patch.label, "who": self.who}


class Patching(TrainerCallback):
    """Carries out what is asked of the code of a model that trains.

    One wish a step boundary, each after a checkpoint of the model as it was. A training nobody edits is left alone.

    Args:
        attempt: the start of the run this is.
        edits: what the run begins with.
        changed: called whenever the model's code is another.
    """

    def __init__(self, attempt: Attempt, edits: RunEdits, changed: Callable[[], None] = lambda: None) -> None:
        self.run, self.active, self.control = attempt.run, attempt.active, attempt.control
        self.touched = bool(edits.patches or edits.layout)
        """Whether the code ever was another one, so that checkpoints have to say what it was."""
        self._changed = changed
        self._edits, self._replay = edits, deque(edits.replay)
        self._stack: list[_InEffect] = []
        self._fresh = False
        self._saved_step = -1
        self._before: StepState | None = None
        self._batches: list[tuple[Any, Any]] = []

    @property
    def numbers(self) -> list[int]:
        """Of the edits in effect, in their order."""
        return [each.number for each in self._stack]

    def begin(self, step: int, world_size: int) -> None:
        """Tell which edits the run begins with, or goes on with.

        Args:
            step: of the checkpoint it goes on from; 0 where it begins.
            world_size: number of processes that train.

        Raises:
            RunError: edits are to be repeated in a run of several processes.
        """
        if self._replay and world_size > 1:
            raise _several_processes(world_size)
        self._saved_step = step or -1
        numbers = self._edits.numbers
        if numbers is not None:
            self._stack = [_InEffect(*each) for each in zip(numbers, self._edits.patches, strict=True)]
        if self.active and (step or self.run.attempt > 1) and read_patches(self.run):
            self._tell_what_is_left(step)
        if numbers is None:
            for patch in self._edits.patches:
                self._add(_InEffect(self._number_of(patch), patch), 0, reason="fork")

    def _tell_what_is_left(self, step: int) -> None:
        """After a resume: edits made since the checkpoint are lost with the steps since, and the other way round."""
        before, now = {each.number: each for each in read_patches(self.run)}, set(self.numbers)
        self.run.append_event("patches", step=step, in_effect=self.numbers)
        for number, known in before.items():
            said = {"number": number, "patch": known.id, "label": known.label, "reason": "resume"}
            if known.state == "applied" and number not in now:
                self.run.append_event("revert", step=step, **said)
            elif known.state != "applied" and number in now:
                self.run.append_event("patch", step=step, **said)

    # -- hooks of Trainer ------------------------------------------------------------------------------------------

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """What comes next is the first batch of a step."""
        self._fresh = True

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A step has held: answer those who wait for it; ask for a checkpoint where one is due."""
        self._before, self._batches = None, []
        step, due = state.global_step, bool(self.control.edits)
        for each in self._stack:
            if each.command is not None:
                acknowledge(self.run, each.command, step=step, number=each.number)
                each.command = None
            due |= each.until == step > 0
        if self.control.edits and args.world_size > 1:
            self.control.refuse_edits(step, _several_processes(args.world_size))
            due = False
        control.should_save = control.should_save or due

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """There is a checkpoint of the model as it is."""
        self._saved_step = state.global_step

    # -- steps -----------------------------------------------------------------------------------------------------

    def step(self, trainer: RunTrainer, model: nn.Module, inputs: dict[str, Any], items: Any) -> Tensor:
        """One batch, after what is to be done at this boundary; done again where a new edit makes it fail."""
        if self._fresh:
            self._fresh = False
            self._act(trainer, inputs)
        if not self._new(trainer):
            return trainer.plain_step(model, inputs, items)
        if not self._batches:
            self._before = StepState(trainer.edited_model, trainer.added_loss)
        self._batches.append((inputs, items))
        try:
            return trainer.plain_step(model, inputs, items)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the code of the edit may raise anything
            *earlier, last = self._again(trainer, model, error)
            for loss in earlier:
                trainer.added_loss.add_(loss)
            return last

    def norm(self, trainer: RunTrainer, model: nn.Module, measure: Callable[[], T]) -> T:
        """The gradient norm of a step; the step is done again where a new edit has spoilt it."""
        while True:
            try:
                return measure()
            except TrainingError as error:
                for loss in self._again(trainer, model, error):
                    trainer.added_loss.add_(loss)

    def guarded(self, trainer: RunTrainer, act: Callable[[], T], *, passes: type[Exception] | tuple[()] = ()) -> T:
        """Something done between steps, as an evaluation; done again without the new edit that makes it fail.

        Args:
            trainer: the trainer.
            act: what is done.
            passes: exceptions that are no failure.
        """
        while True:
            try:
                return act()
            except (Exception, SystemExit) as error:
                if isinstance(error, passes) or not self._new(trainer):
                    raise
                self._take_out(trainer, error, trainer.state.global_step)

    def _new(self, trainer: RunTrainer) -> bool:
        return bool(self._stack) and self._stack[-1].until > trainer.state.global_step

    def _again(self, trainer: RunTrainer, model: nn.Module, error: BaseException) -> list[Tensor]:
        """Take the newest edit out and do the step's batches so far again; their losses, which are not added up yet."""
        while True:
            if self._before is None or not self._new(trainer):
                raise error
            if not self._before.restore():
                raise _weights_written(error) from error
            self._take_out(trainer, error, trainer.state.global_step)
            self._before = StepState(trainer.edited_model, trainer.added_loss)
            losses: list[Tensor] = []
            try:
                for inputs, items in self._batches:
                    losses.append(trainer.plain_step(model, inputs, items))
            except (Exception, SystemExit) as caught:  # noqa: BLE001 - as above
                error = caught
                continue
            return losses

    # -- what is done at a boundary --------------------------------------------------------------------------------

    def _act(self, trainer: RunTrainer, inputs: dict[str, Any]) -> None:
        step = trainer.state.global_step
        while self._replay and self._replay[0].step <= step:
            self._repeat(trainer, step)
        if not self.control.edits or self._saved_step != step:
            return
        command, before = self.control.edits.popleft(), len(self._stack)
        try:
            if command.command == "patch":
                self._patch(trainer, command, inputs, step)
            else:
                self._revert(trainer, command, step)
        except Exception as error:
            if len(self._stack) != before:
                raise  # it was done and could not be written down: the disk is full
            problems = [_problem_at(error)] if isinstance(error, PatchError) else []
            self._refuse(command, error, problems, step)

    def _patch(self, trainer: RunTrainer, command: Command, inputs: dict[str, Any], step: int) -> None:
        path = self._path_of(command)
        number, patch = int(path.name.split("-")[0]), Patch.from_json(path.read_bytes())
        trial = command.arguments.get("trial_steps", TRIAL_STEPS)
        sample = {"input_ids": inputs["input_ids"][:_SAMPLE]}
        with _nothing_drawn():
            checked = validate(trainer.edited_model, patch, inputs=sample)
        if not checked.ok:
            first = checked.problems[0]
            details = {name: getattr(first, name) for name in ("expected", "received", "cause", "fix")}
            raise_as = PatchError(str(first), line=first.line, **details)
            self._refuse(command, raise_as, list(checked.problems), step)
            return
        with _nothing_drawn():
            applied = apply(
                trainer.edited_model,
                patch,
                optimizer=trainer.edited_optimizer,
                validation=checked,
                folder=self.run.patches_path,
                step=step,
            )
        with suppress(DarkitError):  # then whoever loads the checkpoint is asked
            trusting.remember(trusting.patch_hash(applied.patch), f"{patch.label}, in the run {self.run.id}")
        until = step + max(1, trial if isinstance(trial, int) else TRIAL_STEPS)
        who = str(command.arguments.get("who", ""))
        self._add(_InEffect(number, patch, until, command, who, applied.patch.id), step, effect=applied)

    def _revert(self, trainer: RunTrainer, command: Command, step: int) -> None:
        count = command.arguments.get("count", 1)
        if type(count) is not int or not 1 <= count <= len(self._stack):
            raise PatchError(
                "There are not that many edits to take back.",
                expected=f"1 to {len(self._stack)}" if self._stack else "a run whose model was edited",
                received=str(count),
            )
        taken = self._stack[-count:][::-1]
        for each in taken:
            if each.command is not None:
                acknowledge(self.run, each.command, step=step, number=each.number)
        self._remove(trainer, count)
        for each in taken:
            said = each.facts() | {"who": str(command.arguments.get("who", ""))}
            self.run.append_event("revert", step=step, reason="asked", **said)
        acknowledge(self.run, command, step=step, numbers=[each.number for each in taken])

    def _repeat(self, trainer: RunTrainer, step: int) -> None:
        """The next step of the fork's schedule, without checks: it has held once."""
        action, fork = self._replay.popleft(), self._edits.fork
        assert fork is not None  # noqa: S101 - a schedule comes from a fork
        patch = fork.patches[action.number - 1]
        if action.action == "patch":
            with _nothing_drawn():
                apply(
                    trainer.edited_model,
                    patch,
                    optimizer=trainer.edited_optimizer,
                    folder=self.run.patches_path,
                    step=step,
                )
            self._add(_InEffect(self._number_of(patch), patch), step, reason="replay")
            return
        if not self._stack:
            raise PatchError(
                "The fork's schedule takes back more than it puts in.",
                expected=f"{patch.label} in the model",
                received="no edit",
                fix="train without model.fork_replay",
            )
        taken = self._stack[-1]
        self._remove(trainer, 1)
        if self.active:
            self.run.append_event("revert", step=step, reason="replay", **taken.facts())

    def _take_out(self, trainer: RunTrainer, error: BaseException, step: int) -> None:
        """Take the newest edit out by itself, and tell why."""
        traceback.print_exception(error, file=sys.stderr)
        failed = self._stack[-1]
        self._remove(trainer, 1)
        told = _told(error, failed, step)
        self.run.append_event("revert", step=step, reason="failed", problem=problem_of(told), **failed.facts())
        if failed.command is not None:
            acknowledge(
                self.run, failed.command, step=step, error=told, number=failed.number, problems=[_problem_at(told)]
            )

    def _remove(self, trainer: RunTrainer, count: int) -> None:
        with _nothing_drawn():
            revert(trainer.edited_model, count=count, optimizer=trainer.edited_optimizer)
        del self._stack[-count:]
        self._changed()

    def _add(self, edit: _InEffect, step: int, *, effect: Any = None, **more: Any) -> None:
        self._stack.append(edit)
        self.touched = True
        self._changed()
        if self.active:
            changed = {name: list(getattr(effect, name)) for name in ("new", "dropped")} if effect else {}
            said = {"targets": list(edit.patch.targets), **edit.facts(), **changed, **more}
            self.run.append_event("patch", step=step, **said)

    # -- small parts -----------------------------------------------------------------------------------------------

    def _number_of(self, patch: Patch) -> int:
        """The number a fork's edit has in this run: that of an earlier start, or a new one."""
        if not self.active:
            return 0
        known = (each.number for each in read_patches(self.run) if each.id == patch.id)
        return next((each for each in known if each not in self.numbers), None) or store_patch(self.run, patch)

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


@contextmanager
def _nothing_drawn() -> Iterator[None]:
    """The training's random numbers are afterwards those that would have come before."""
    state = RandomState()
    try:
        yield
    finally:
        state.restore()


def _told(error: BaseException, failed: _InEffect, step: int) -> PatchError:
    """Why a step failed, with the line of the edit it failed in."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).stem.endswith(f"_{failed.made}")]
    line = lines[-1] if lines else None
    said = problem_of(error)
    place = f"line {line}: " if line is not None else ""
    return PatchError(
        f"{place}{said['message']}",
        line=line,
        expected=said["expected"] or f"a step {step + 1} that goes well",
        received=said["received"],
        cause="the edit: it was taken out again, and the training goes on without it",
        fix="mend the edit and send it again",
    )


def _problem_at(error: Exception) -> dict[str, Any]:
    facts = problem_of(error)
    problem = PatchProblem(check="training", message=str(facts["message"]), line=getattr(error, "line", None))
    return problem.to_dict() | {name: facts[name] for name in ("expected", "received", "cause", "fix")}


def _weights_written(error: BaseException) -> TrainingError:
    return TrainingError(
        "The edit wrote into the weights before its step failed, so the step cannot be done again.",
        expected="an edit whose forward leaves parameters alone",
        received=f"{type(error).__name__}: {error}",
        fix="resume the run: it goes on from the checkpoint before the edit",
    )


def _several_processes(world_size: int) -> RunError:
    return RunError(
        "The model of a run in several processes cannot be edited while it trains.",
        expected="a run in one process",
        received=f"{world_size} processes",
        fix="stop it, make a fork of the edit, and train with model.fork",
    )
