"""What a run writes down while it trains: metrics, spikes, energy; and the step boundaries where wishes are heeded."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import psutil
import torch
from torch import Tensor
from transformers import PreTrainedModel, TrainerCallback

from darkit_nb.config import RunConfig
from darkit_nb.evaluate import account, measure_spikes, model_facts
from darkit_nb.records.energy import ModelFacts
from darkit_nb.runs.control import acknowledge
from darkit_nb.spikify import spiking_modules
from darkit_nb.train.answering import answer, refuse_again
from darkit_nb.train.attempt import Attempt
from darkit_nb.train.trainer import EvaluationStopped

ProgressReport = Callable[[str, dict[str, Any]], None]


def _directly(act: Callable[[], None]) -> None:
    act()


class RunRecorder(TrainerCallback):
    """Turns what `Trainer` reports into the lines of `metrics.jsonl`.

    Args:
        attempt: the start of the run this is; its processes that do not write only take part in what all decide.
        config: the run's configuration.
        bytes_per_token: of the validation text, for bits per byte.
        probe: `[B, L]` token ids whose spikes are measured.
        report: also receives every line, as (kind, values), for progress bars.

    Attributes:
        guard: does a measurement, in whatever way makes sure that it cannot end the training.
    """

    def __init__(
        self,
        attempt: Attempt,
        config: RunConfig,
        *,
        bytes_per_token: float,
        probe: Tensor,
        report: ProgressReport,
    ) -> None:
        self.attempt, self.control, self.config = attempt, attempt.control, config
        self.run, self.active = attempt.run, attempt.active
        self.last: dict[str, dict[str, Any]] = {}
        self._bytes_per_token, self._probe, self._report = bytes_per_token, probe, report
        self._tokens_per_step = 0
        self._began = self._step_started = 0.0
        self._step_seconds = 0.0
        self._process = psutil.Process()
        self._facts: ModelFacts | None = None
        self.guard: Callable[[Callable[[], None]], None] = _directly
        self._device = torch.device("cpu")

    # -- lines -----------------------------------------------------------------------------------------------------

    def write(self, kind: str, step: int, **values: Any) -> None:
        """Append one metrics line and pass it on."""
        if not self.active:
            return
        self.run.append_metrics({"kind": kind, "step": step, **values})
        self.last[kind] = {"step": step, **values}
        self._report(kind, self.last[kind])

    def on_values(self, step: int, logs: dict[str, float]) -> None:
        """A log of `Trainer`: training values, or the result of an evaluation."""
        if "eval_loss" in logs:
            loss = logs["eval_loss"]
            bits = loss / math.log(2) / self._bytes_per_token
            perplexity = math.exp(loss) if loss < 700 else math.inf
            self.write("evaluation", step, loss=loss, perplexity=perplexity, bits_per_byte=bits)
        elif "loss" in logs:
            self.write(
                "train",
                step,
                loss=logs["loss"],
                learning_rate=logs["learning_rate"],
                grad_norm=logs.get("grad_norm"),
                step_seconds=self._step_seconds,
                tokens_per_s=self._tokens_per_step / self._step_seconds if self._step_seconds else None,
                memory_bytes=self._memory_bytes(),
            )

    def _memory_bytes(self) -> int:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        return self._process.memory_info().rss

    # -- hooks of Trainer ------------------------------------------------------------------------------------------

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Know how many tokens a step has, where it runs, and when training began."""
        self._device = args.device
        self._began = time.monotonic()
        train = self.config.train
        windows = train.batch_size * train.gradient_accumulation * args.world_size
        self._tokens_per_step = windows * self.config.data.seq_len

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock of a step."""
        self._step_started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop the clock; measure spikes when it is time; heed what was asked for."""
        self._step_seconds = time.perf_counter() - self._step_started
        self.attempt.step = state.global_step
        last = state.global_step >= state.max_steps
        every = self.config.monitor.spikes_every
        if every and (last or state.global_step % every == 0 or state.global_step == 1):
            self.guard(lambda: self.measure(kwargs["model"], state.global_step))
        limit = self.config.train.max_seconds
        if limit is not None and not last and time.monotonic() - self._began > limit:
            self.control.stop(f"the time limit of {limit:g} seconds (train.max_seconds)", in_order=True)
        stop, save = self._agreed(args.world_size)
        if last or stop:
            control.should_log = control.should_save = control.should_training_stop = True
            control.should_evaluate = last or self.control.in_order
        control.should_save = control.should_save or save
        if not (last or stop):
            self._answer(state.global_step, **kwargs)

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave an evaluation that nobody waits for any more; several processes finish it together."""
        if self.control.stop_requested and not self.control.in_order and args.world_size == 1:
            raise EvaluationStopped
        self._answer(state.global_step, **kwargs)

    def _answer(self, step: int, *, model: Any, processing_class: Any, **rest: Any) -> None:
        """Answer what was asked of the model, between two steps or two batches of an evaluation."""
        requests = self.control.requests
        while requests and not self.control.stop_requested:
            command = requests.popleft()
            if command.id in self.control.interrupted:
                refuse_again(self.run, command, step=step)
            else:
                answer(self.run, command, model, processing_class, step=step, give_up=self._stopped)

    def forget_facts(self) -> None:
        """The model's code is another: what is known of its costs has to be looked up again."""
        self._facts = None

    def _stopped(self) -> str | None:
        return self.control.stop_requested

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Say that the checkpoints asked for are there."""
        while self.active and self.control.checkpoints:
            acknowledge(self.run, self.control.checkpoints.popleft(), step=state.global_step)

    def _agreed(self, world_size: int) -> tuple[bool, bool]:
        """Whether to stop and whether to save: all processes must do it at the same step, or they wait for ever."""
        mine = self.control
        stop = 0.0 if mine.stop_requested is None else 1.0 if mine.in_order else 2.0
        save = float(bool(mine.checkpoints))
        if world_size > 1:
            wishes = torch.tensor([stop, save], device=self._device)
            torch.distributed.all_reduce(wishes, op=torch.distributed.ReduceOp.MAX)
            stop, save = wishes.tolist()
            if stop:
                mine.stop("another process of this run was asked to stop")
                mine.in_order = stop == 1.0
        return bool(stop), bool(save)

    @torch.no_grad()
    def measure(self, model: PreTrainedModel, step: int) -> None:
        """Write a `spikes` line: firing per layer, operation counts and energy on the probe."""
        if not self.active or not spiking_modules(model):
            return
        training, start = model.training, time.perf_counter()
        model.eval()
        spikes = measure_spikes(model, [self._probe.to(model.device)])
        if self._facts is None:
            self._facts = model_facts(model, spikes.window)
        energy = account(spikes, self._facts)
        model.train(training)
        seconds = time.perf_counter() - start
        self.write("spikes", step, seconds=seconds, **spikes.to_dict(), energy=energy.to_dict())
