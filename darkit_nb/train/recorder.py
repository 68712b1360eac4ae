"""What a run writes down while it trains: metrics, spikes, energy, heartbeat; and how it is asked to stop."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import torch
from torch import Tensor
from transformers import PreTrainedModel, TrainerCallback

from darkit_nb.config import RunConfig
from darkit_nb.errors import RunError
from darkit_nb.evaluate import account, measure_spikes, model_facts
from darkit_nb.records.energy import ModelFacts
from darkit_nb.runs import RunDirectory
from darkit_nb.spikify import spiking_modules

HEARTBEAT_SECONDS = 5.0

ProgressReport = Callable[[str, dict[str, Any]], None]


class RunRecorder(TrainerCallback):
    """Turns what `Trainer` reports into the lines of `metrics.jsonl`.

    Args:
        run: the run directory.
        config: the run's configuration.
        bytes_per_token: of the validation text, for bits per byte.
        probe: `[B, L]` token ids whose spikes are measured.
        report: also receives every line, as (kind, values), for progress bars.
        active: whether this process writes; only rank 0 of a distributed run does.
    """

    def __init__(
        self,
        run: RunDirectory,
        config: RunConfig,
        *,
        bytes_per_token: float,
        probe: Tensor,
        report: ProgressReport,
        active: bool = True,
    ) -> None:
        self.run, self.config, self.active = run, config, active
        self.stop_requested: str | None = None
        self.last: dict[str, dict[str, Any]] = {}
        self._bytes_per_token, self._probe, self._report = bytes_per_token, probe, report
        self._tokens_per_step = 0
        self._began = self._step_started = 0.0
        self._step_seconds = 0.0
        self._process = psutil.Process()
        self._facts: ModelFacts | None = None
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
        """Stop the clock; measure spikes when it is time; heed a wish to stop."""
        self._step_seconds = time.perf_counter() - self._step_started
        last = state.global_step >= state.max_steps
        every = self.config.monitor.spikes_every
        if every and (last or state.global_step % every == 0 or state.global_step == 1):
            self.measure(kwargs["model"], state.global_step)
        limit = self.config.train.max_seconds
        if limit is not None and not last and time.monotonic() - self._began > limit:
            self.stop_requested = f"the time limit of {limit:g} seconds (train.max_seconds)"
        if last or self._all_want_to_stop(args.world_size):
            control.should_log = control.should_evaluate = control.should_save = control.should_training_stop = True

    def _all_want_to_stop(self, world_size: int) -> bool:
        """Whether any process was asked to stop: all must end at the same step, or the others wait for ever."""
        if world_size > 1:
            wish = torch.tensor(float(self.stop_requested is not None), device=self._device)
            torch.distributed.all_reduce(wish, op=torch.distributed.ReduceOp.MAX)
            if wish.item() and self.stop_requested is None:
                self.stop_requested = "another process of this run was asked to stop"
        return self.stop_requested is not None

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


@contextmanager
def heartbeat(run: RunDirectory, recorder: RunRecorder) -> Iterator[None]:
    """Refresh the run's status from a thread for as long as training lasts, so that readers can tell a dead one."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(HEARTBEAT_SECONDS):
            step = recorder.last.get("train", {}).get("step", 0)
            # A full disk is met, and explained, by the training itself; here it must not end the thread.
            with suppress(RunError):
                run.write_status(state="running", step=step, total_steps=recorder.config.train.steps)

    thread = threading.Thread(target=beat, name="darkit-heartbeat", daemon=True)
    if recorder.active:
        thread.start()
    try:
        yield
    finally:
        done.set()
        if recorder.active:
            thread.join()


@contextmanager
def stop_on_signals(recorder: RunRecorder) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM asks for a checkpoint and an orderly end; the second one interrupts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {}

    def ask(number: int, frame: Any) -> None:
        recorder.stop_requested = f"asked to stop by {signal.Signals(number).name}"
        for which, handler in before.items():
            signal.signal(which, handler)

    for which in (signal.SIGINT, signal.SIGTERM):
        before[which] = signal.signal(which, ask)
    try:
        yield
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)
