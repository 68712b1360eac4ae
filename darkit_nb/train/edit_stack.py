"""The edits that are in a model while it trains: put in, taken out, and told of in the run's events."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkit_nb.edit.apply import apply, revert
from darkit_nb.errors import PatchError, problem_of
from darkit_nb.records.patch import AppliedPatch, Patch, PatchProblem, Validation
from darkit_nb.runs.control import Command, acknowledge
from darkit_nb.runs.patch_history import read_patches
from darkit_nb.runs.patching import store_patch
from darkit_nb.train.attempt import Attempt
from darkit_nb.train.edits import RunEdits
from darkit_nb.train.step_state import RandomState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from darkit_nb.train.trainer import RunTrainer


@dataclass
class InEffect:
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


class EditStack:
    """What of edits is in the model, the newest last.

    Args:
        attempt: the start of the run this is.
        edits: what the run begins with.
        changed: called whenever the model's code is another.
    """

    def __init__(self, attempt: Attempt, edits: RunEdits, changed: Callable[[], None]) -> None:
        self.run, self.active = attempt.run, attempt.active
        self.touched = bool(edits.patches or edits.layout)
        """Whether the code ever was another one, so that checkpoints have to say what it was."""
        self.inside: list[InEffect] = []
        self._changed = changed

    @property
    def numbers(self) -> list[int]:
        """Of the edits in effect, in their order."""
        return [each.number for each in self.inside]

    @property
    def new_until(self) -> int:
        """The last step in which the newest edit counts as new; 0 where there is none."""
        return self.inside[-1].until if self.inside else 0

    def begin(self, edits: RunEdits, step: int) -> None:
        """Tell which edits the run begins with, or goes on with.

        Args:
            edits: what it begins with.
            step: of the checkpoint it goes on from; 0 where it begins.
        """
        numbers = edits.numbers
        if numbers is not None:
            self.inside = [InEffect(*each) for each in zip(numbers, edits.patches, strict=True)]
        if self.active and (step or self.run.attempt > 1) and read_patches(self.run):
            self._tell_what_is_left(step)
        if numbers is None:
            for patch in edits.patches:
                self.add(InEffect(self.number_of(patch), patch), 0, reason="fork")

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

    def put_in(
        self, trainer: RunTrainer, patch: Patch, step: int, *, checked: Validation | None = None
    ) -> AppliedPatch:
        """Apply an edit to the model that trains; `add` then tells of it."""
        with nothing_drawn():
            return apply(
                trainer.edited_model,
                patch,
                optimizer=trainer.edited_optimizer,
                validation=checked,
                folder=self.run.patches_path,
                step=step,
            )

    def add(self, edit: InEffect, step: int, *, effect: AppliedPatch | None = None, **more: Any) -> None:
        """Count an edit as one that is in the model, and tell of it."""
        self.inside.append(edit)
        self.touched = True
        self._changed()
        if self.active:
            changed = {name: list(getattr(effect, name)) for name in ("new", "dropped")} if effect else {}
            said = {"targets": list(edit.patch.targets), **edit.facts(), **changed, **more}
            self.run.append_event("patch", step=step, **said)

    def remove(self, trainer: RunTrainer, count: int) -> None:
        """Take the newest edits out of the model."""
        with nothing_drawn():
            revert(trainer.edited_model, count=count, optimizer=trainer.edited_optimizer)
        del self.inside[-count:]
        self._changed()

    def take_out(self, trainer: RunTrainer, error: BaseException, step: int) -> None:
        """Take the newest edit out by itself, and tell why."""
        traceback.print_exception(error, file=sys.stderr)
        failed = self.inside[-1]
        self.remove(trainer, 1)
        told = _told(error, failed, step)
        self.run.append_event("revert", step=step, reason="failed", problem=problem_of(told), **failed.facts())
        if failed.command is not None:
            acknowledge(
                self.run, failed.command, step=step, error=told, number=failed.number, problems=[problem_at(told)]
            )

    def number_of(self, patch: Patch) -> int:
        """The number a fork's edit has in this run: that of an earlier start, or a new one."""
        if not self.active:
            return 0
        known = (each.number for each in read_patches(self.run) if each.id == patch.id)
        return next((each for each in known if each not in self.numbers), None) or store_patch(self.run, patch)


@contextmanager
def nothing_drawn() -> Iterator[None]:
    """The training's random numbers are afterwards those that would have come before."""
    state = RandomState()
    try:
        yield
    finally:
        state.restore()


def _told(error: BaseException, failed: InEffect, step: int) -> PatchError:
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


def problem_at(error: Exception) -> dict[str, Any]:
    """An error in a training as a problem of the edit, as plain data."""
    facts = problem_of(error)
    problem = PatchProblem(check="training", message=str(facts["message"]), line=getattr(error, "line", None))
    return problem.to_dict() | {name: facts[name] for name in ("expected", "received", "cause", "fix")}
