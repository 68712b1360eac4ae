"""transformers' `Trainer` with the manners a run needs: atomic checkpoints, no silent NaN, a log of one's own."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer
from transformers.trainer import TRAINER_STATE_NAME, TRAINING_ARGS_NAME

from darkit_nb.config import RunConfig
from darkit_nb.data.streaming import StreamingWindows
from darkit_nb.errors import TrainingError
from darkit_nb.runs import RunDirectory
from darkit_nb.train.arguments import learning_rate_schedule, training_arguments
from darkit_nb.train.data_order import EndlessStream, EpochOrder, TellEpoch
from darkit_nb.train.edits import arrange, write_edits
from darkit_nb.train.patching import Patching


class EvaluationStopped(Exception):  # noqa: N818 - a way out, not an error
    """Raised by a callback to leave an evaluation; training then ends with a checkpoint."""


def collate(windows: Sequence[dict[str, np.ndarray]]) -> dict[str, Tensor]:
    """Stack token windows into a batch, `[B, L]` each."""
    return {key: torch.from_numpy(np.stack([window[key] for window in windows])) for key in windows[0]}


class RunTrainer(Trainer):
    """A `Trainer` that writes into a run directory.

    Args:
        run: where checkpoints go.
        config: the run's configuration.
        model: what is trained.
        tokenizer: saved beside every checkpoint, so that each is a complete model folder.
        train_windows: training data, with `len` and `[i]`, or iterable.
        eval_windows: validation windows.
        on_log: receives (step, values) for every training log and every evaluation.
        callbacks: further `TrainerCallback`s.
        patching: edits of the model while it trains.
        layout: names of the parameters in each group of the optimizer, where a saved state counts in another order
            than a fresh one.
    """

    def __init__(
        self,
        *,
        run: RunDirectory,
        config: RunConfig,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        train_windows: Any,
        eval_windows: Any,
        on_log: Callable[[int, dict[str, float]], None],
        callbacks: list[Any],
        patching: Patching,
        layout: Sequence[Sequence[str]] | None = None,
    ) -> None:
        self.run = run
        self.config = config
        self._on_log = on_log
        self.patching, self._layout = patching, layout
        self._order = None if isinstance(train_windows, StreamingWindows) else EpochOrder(train_windows, config.seed)
        super().__init__(
            model=model,
            args=training_arguments(config, run.checkpoints_path),
            data_collator=collate,
            train_dataset=cast(Any, train_windows),  # anything with len and [i]; a stream has a loader of its own
            eval_dataset=eval_windows,
            processing_class=tokenizer,
            callbacks=[*([TellEpoch(self._order)] if self._order else []), *callbacks, patching],
        )

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Windows in their order; a stream is shared out here, without a copy sent from process to process."""
        if self._order is not None:
            return super().get_train_dataloader()
        stream = EndlessStream(
            cast(StreamingWindows, self.train_dataset), self.args.process_index, self.args.world_size
        )
        return DataLoader(stream, batch_size=self.config.train.batch_size, collate_fn=collate)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return self._order

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Hand the values on instead of keeping every one of them in memory and in each checkpoint."""
        if self.is_world_process_zero():
            self._on_log(self.state.global_step, logs)

    def create_optimizer(self, model: Any = None) -> Any:
        """The optimizer, counting its parameters as the state does that is to be loaded into it."""
        optimizer = super().create_optimizer(model)
        if self._layout is not None:
            arrange(optimizer, self.edited_model, self._layout)
        return optimizer

    @property
    def edited_model(self) -> nn.Module:
        """The model whose code may be edited."""
        return cast(nn.Module, self.model)

    @property
    def edited_optimizer(self) -> Optimizer:
        """The optimizer that has to follow its parameters."""
        return cast(Optimizer, self.optimizer)

    @property
    def added_loss(self) -> Tensor:
        """The losses of this step so far, where `Trainer` adds them up."""
        return self._tr_loss

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> Any:
        """The schedule of the configuration, which has a floor and shapes of its own."""
        if self.lr_scheduler is None:
            self.lr_scheduler = learning_rate_schedule(cast(Optimizer, optimizer or self.optimizer), self.config.train)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Validate; a stop on the way leaves no result, and a checkpoint instead."""
        evaluate = super().evaluate
        try:
            return self.patching.guarded(self, lambda: evaluate(*args, **kwargs), passes=EvaluationStopped)
        except EvaluationStopped:
            self.control.should_save = self.control.should_training_stop = True
            return {}

    # -- numbers that are no numbers -------------------------------------------------------------------------------

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """One forward and backward pass, after what is to be done to the model's code at this boundary."""
        return self.patching.step(self, model, inputs, num_items_in_batch)

    def plain_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """One forward and backward pass; a loss that is NaN or infinite ends the run before weights change."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not math.isfinite(loss.item()):
            raise self._not_finite("loss", loss.item())
        return loss

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        return self.patching.norm(self, model, lambda: self._checked_norm(model))

    def _checked_norm(self, model: nn.Module) -> Any:
        norm = super()._clip_grad_norm(model)
        # In float16 the loss scaler meets infinite gradients by design and skips the step itself.
        if norm is not None and self.config.train.precision != "float16" and not math.isfinite(float(norm)):
            raise self._not_finite("gradient norm", float(norm))
        return norm

    def _not_finite(self, what: str, value: float) -> TrainingError:
        last = self.run.latest_checkpoint()
        kept = f"the checkpoint of step {last.step} is intact" if last else "there is no checkpoint yet"
        return TrainingError(
            f"The {what} became {value} in step {self.state.global_step + 1}; the weights did not change.",
            expected=f"a finite {what}",
            received=str(value),
            cause="a learning rate that is too high, float16 overflow, or broken input",
            fix=f"{kept}; lower train.learning_rate or lengthen train.warmup_steps, then resume or start again",
        )

    # -- checkpoints -----------------------------------------------------------------------------------------------

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write everything into a hidden folder and rename it: a checkpoint is there whole or not at all."""
        step = self.state.global_step
        with self.run.new_checkpoint(step, owner=self.is_world_process_zero()) as draft:
            try:
                self._write_checkpoint(draft)
            except (OSError, RuntimeError, SafetensorError) as error:
                raise _unwritable(draft, step, error) from error
            self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            self.run.prune_checkpoints(self.config.checkpoint.keep)

    def _write_checkpoint(self, folder: Path) -> None:
        self.save_model(str(folder), _internal_call=True)
        # A pickle of Trainer's own settings: config.yaml says the same, and no foreign reader should have to open it.
        if self.args.should_save:
            (folder / TRAINING_ARGS_NAME).unlink(missing_ok=True)
            if self.patching.touched:
                write_edits(folder, self.patching.numbers, self.edited_model, self.edited_optimizer)
        self._save_optimizer_and_scheduler(str(folder))
        self._save_scaler(str(folder))
        self._save_rng_state(str(folder))
        if self.args.should_save:
            self.state.save_to_json(os.fspath(folder / TRAINER_STATE_NAME))


def _unwritable(folder: Path, step: int, error: Exception) -> TrainingError:
    free = shutil.disk_usage(folder.parent).free
    full = "os error 28" in str(error) or getattr(error, "errno", None) == 28 or free < 2**20
    return TrainingError(
        f"The checkpoint of step {step} could not be written; the ones before it are intact.",
        expected="room for the model and its optimizer state",
        received=f"{free / 2**20:.0f} MB free, and the error: {str(error).splitlines()[0][:160]}",
        cause="the disk is full" if full else "the folder is not writable, or the disk failed",
        fix="free some space or lower checkpoint.keep, then `darkit-nb resume` the run",
    )
