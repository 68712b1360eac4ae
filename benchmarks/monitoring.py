"""What watching costs: our run with full monitoring against bare `transformers.Trainer`, same model, same data.

Both train in one process by turns of a few dozen steps, so that drift of the machine falls on both alike. Full
monitoring is the default: a metrics line a step, spikes and energy of 512 tokens every 100 steps, a heartbeat.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from torch.utils.data import Subset
from transformers import Trainer, TrainerCallback, TrainingArguments

from benchmarks.harness import spread
from darkit_nb.config import RunConfig
from darkit_nb.runs import RunDirectory
from darkit_nb.train.arguments import training_arguments
from darkit_nb.train.data_order import EpochOrder
from darkit_nb.train.demo import demo_config
from darkit_nb.train.launch import train
from darkit_nb.train.session import open_session
from darkit_nb.train.trainer import collate


class _Clock(TrainerCallback):
    """Seconds from the end of the first step to the end of the last one."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 1:
            self.first = time.perf_counter()
        self.last, self.steps = time.perf_counter(), state.global_step

    @property
    def seconds_per_step(self) -> float:
        return (self.last - self.first) / (self.steps - 1)


def _bare(config: RunConfig, folder: Path) -> tuple[float, float]:
    """Seconds per step and final loss of `Trainer` as it comes: default logging every 500 steps, nothing saved."""
    session, clock = open_session(config), _Clock()
    ours = training_arguments(config, folder)
    arguments = TrainingArguments(
        output_dir=str(folder),
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        remove_unused_columns=False,
        dataloader_drop_last=True,
        lr_scheduler_type="constant",
        train_sampling_strategy="sequential",
        **{
            key: getattr(ours, key)
            for key in (
                "per_device_train_batch_size",
                "max_steps",
                "learning_rate",
                "weight_decay",
                "adam_beta1",
                "adam_beta2",
                "max_grad_norm",
                "optim",
                "seed",
                "data_seed",
                "use_cpu",
                "dataloader_pin_memory",
            )
        },
    )
    windows = session.data.train
    ordered: Any = Subset(cast(Any, windows), list(EpochOrder(windows, config.seed)))  # the order our run takes
    trainer = Trainer(
        model=session.model, args=arguments, data_collator=collate, train_dataset=ordered, callbacks=[clock]
    )
    with contextlib.redirect_stdout(io.StringIO()):  # Trainer prints its summary
        trainer.train()
    return clock.seconds_per_step, trainer.state.log_history[-1]["train_loss"]


def _ours(config: RunConfig) -> tuple[float, float]:
    """Seconds per step, everything included, and mean loss of our run."""
    run: RunDirectory = train(config, progress=False)
    lines = [line for line in run.read_metrics() if line["kind"] == "train"]
    seconds = (lines[-1]["time"] - lines[0]["time"]) / (len(lines) - 1)
    return seconds, sum(line["loss"] for line in lines) / len(lines)


def run(quick: bool) -> Iterator[dict[str, Any]]:
    """Alternate both trainers; they must reach the same mean loss, as they do the same training."""
    steps, rounds = (3, 1) if quick else (100, 4)
    ratios, bare, ours = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        config = demo_config(steps, runs_dir=folder).replace(
            {
                "evaluation.every": 0,
                "evaluation.windows": 1,
                "monitor.spikes_every": 100,
                "checkpoint.every": 0,
                "train.schedule": "constant",
                "train.warmup_steps": 0,
                "train.max_seconds": None,
            }
        )
        for turn in range(rounds):
            rivals = [lambda: _bare(config, Path(folder) / "bare"), lambda: _ours(config)]
            results = [rivals[0](), rivals[1]()] if turn % 2 == 0 else [rivals[1](), rivals[0]()][::-1]
            (bare_seconds, bare_loss), (own_seconds, own_loss) = results
            # With one thread both are equal to the last bit; several threads sum in varying order, and counts flip.
            if abs(bare_loss / own_loss - 1) > 5e-3:
                raise AssertionError(f"not the same training: mean loss {bare_loss} and {own_loss}")
            bare.append(bare_seconds)
            ours.append(own_seconds)
            ratios.append(own_seconds / bare_seconds)
    yield {
        "shape": "spike-llama-nano, 8 × 256 tokens, W4A4",
        "dtype": "float32",
        "steps": steps,
        "rounds": rounds,
        "seconds_per_step": {"bare Trainer": spread(bare), "darkit-nb run": spread(ours)},
        "ratio": {"darkit-nb run": spread(ratios)},
    }
