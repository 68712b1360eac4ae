"""Edits of a model while it trains: put in and taken out between two steps, and taken out again when a step fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor, nn
from transformers import TrainerCallback

from darkit_nb.errors import RunError, TrainingError
from darkit_nb.runs.control import acknowledge
from darkit_nb.train.attempt import Attempt
from darkit_nb.train.edit_commands import EditCommands
from darkit_nb.train.edit_stack import EditStack
from darkit_nb.train.edits import RunEdits
from darkit_nb.train.step_state import StepState

if TYPE_CHECKING:
    from darkit_nb.train.trainer import RunTrainer

T = TypeVar("T")


class Patching(TrainerCallback):
    """Watches the steps of a model whose code is edited while it trains.

    One wish a step boundary, each after a checkpoint of the model as it was, but a dry run, which changes nothing. A
    training nobody edits is left alone.

    Args:
        attempt: the start of the run this is.
        edits: what the run begins with.
        changed: called whenever the model's code is another.
    """

    def __init__(self, attempt: Attempt, edits: RunEdits, changed: Callable[[], None] = lambda: None) -> None:
        self.run, self.control = attempt.run, attempt.control
        self._edits, self._stack = edits, EditStack(attempt, edits, changed)
        self._commands = EditCommands(attempt, edits, self._stack)
        self._fresh = False
        self._saved_step = -1
        self._before: StepState | None = None
        self._batches: list[tuple[Any, Any]] = []

    @property
    def touched(self) -> bool:
        """Whether the code ever was another one, so that checkpoints have to say what it was."""
        return self._stack.touched

    @property
    def numbers(self) -> list[int]:
        """Of the edits in effect, in their order."""
        return self._stack.numbers

    def begin(self, step: int, world_size: int) -> None:
        """Tell which edits the run begins with, or goes on with.

        Args:
            step: of the checkpoint it goes on from; 0 where it begins.
            world_size: number of processes that train.

        Raises:
            RunError: edits are to be repeated in a run of several processes.
        """
        if self._commands.repeats and world_size > 1:
            raise _several_processes(world_size)
        self._saved_step = step or -1
        self._stack.begin(self._edits, step)

    # -- hooks of Trainer ------------------------------------------------------------------------------------------

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """What comes next is the first batch of a step."""
        self._fresh = True

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A step has held: answer those who wait for it; ask for a checkpoint where one is due."""
        self._before, self._batches = None, []
        step, due = state.global_step, self._commands.needs_checkpoint
        for each in self._stack.inside:
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
            self._commands.act(trainer, inputs, saved=self._saved_step == trainer.state.global_step)
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
                self._stack.take_out(trainer, error, trainer.state.global_step)

    def _new(self, trainer: RunTrainer) -> bool:
        return self._stack.new_until > trainer.state.global_step

    def _again(self, trainer: RunTrainer, model: nn.Module, error: BaseException) -> list[Tensor]:
        """Take the newest edit out and do the step's batches so far again; their losses, which are not added up yet."""
        while True:
            if self._before is None or not self._new(trainer):
                raise error
            if not self._before.restore():
                raise _weights_written(error) from error
            self._stack.take_out(trainer, error, trainer.state.global_step)
            self._before = StepState(trainer.edited_model, trainer.added_loss)
            losses: list[Tensor] = []
            try:
                for inputs, items in self._batches:
                    losses.append(trainer.plain_step(model, inputs, items))
            except (Exception, SystemExit) as caught:  # noqa: BLE001 - as above
                error = caught
                continue
            return losses


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
