"""The main job in two minutes: a spiking language model learns Python from the standard library's own source."""

from __future__ import annotations

import sys
import time
from statistics import median
from typing import Any

import torch

from darkit_nb.config import DataConfig, RunConfig
from darkit_nb.models.build import build_model
from darkit_nb.records.activity import SpikeReport
from darkit_nb.records.energy import EnergyReport
from darkit_nb.runs import RunDirectory
from darkit_nb.spikify import spikify
from darkit_nb.train.generate import Sampling, generate
from darkit_nb.train.launch import train
from darkit_nb.views import energy_table, spike_table

TRAINING_SECONDS = 100.0
"""What the demo aims at; the hard limit of its training is 120."""

PROMPT = "def "


def demo_config(steps: int = 450, *, seed: int = 0, runs_dir: str = "runs") -> RunConfig:
    """The demo's run: 1 M parameters, W4A4, Q = 16, 10 % salient features at two steps, all decoder linears."""
    return RunConfig(runs_dir=runs_dir, seed=seed).replace(
        {
            "model.preset": "spike-llama-nano",
            "data.dataset": "stdlib",
            "data.tokenizer": "bytes",
            "data.seq_len": 256,
            "train.steps": steps,
            "train.max_seconds": 120.0,
            "train.batch_size": 8,
            "train.learning_rate": 6e-3,
            "train.min_learning_rate_ratio": 0.05,
            "train.warmup_steps": 30,
            "evaluation.every": max(1, steps // 5),
            "evaluation.windows": 32,
            "monitor.spikes_every": max(1, steps // 5),
            "checkpoint.every": max(1, steps // 2),
            "checkpoint.keep": 2,
        }
    )


def affordable_steps(seconds: float = TRAINING_SECONDS) -> int:
    """Steps this machine trains in that time, from a few trial steps on random tokens; between 60 and 600."""
    config = demo_config()
    settings: DataConfig = config.data
    model = build_model(config.model.preset, vocab_size=264, seq_len=settings.seq_len)
    if config.spike is not None:
        spikify(model, config.spike)
    optimizer = torch.optim.AdamW(model.train().parameters(), fused=True)
    ids = torch.randint(0, 256, (config.train.batch_size, settings.seq_len))
    times = []
    for _ in range(6):
        start = time.perf_counter()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - start)
    # A tenth goes to evaluation, checkpoints and the loop around the step.
    return int(min(600, max(60, 0.9 * seconds / median(times[1:]))))


def demo(*, runs_dir: str = "runs", seed: int = 0, steps: int | None = None) -> RunDirectory:
    """Train, then print what was learnt, how it fired, what it would cost, and where the run lies.

    Args:
        runs_dir: folder of runs.
        seed: of weights and data order.
        steps: None takes as many as fit into two minutes here.
    """
    say = _say
    if steps is None:
        steps = affordable_steps()
    config = demo_config(steps, seed=seed, runs_dir=runs_dir)
    spec = config.spike
    say(
        f"A spiking Llama of 1 M parameters learns Python: {steps} steps of {config.train.batch_size} × "
        f"{config.data.seq_len} bytes of the standard library's source."
    )
    if spec is not None:
        say(
            f"Every linear layer of its decoder spikes: {spec.num_levels} levels, {spec.salient_fraction:.0%} of the "
            f"features at {spec.num_steps} steps, {spec.weight_bits}-bit weights.\n"
        )
    run = train(config)
    _summary(run)
    return run


def _summary(run: RunDirectory) -> None:
    metrics = run.read_metrics()
    validation = [line for line in metrics if line["kind"] == "evaluation"]
    steps = [line for line in metrics if line["kind"] == "train"]
    spikes = [line for line in metrics if line["kind"] == "spikes"][-1]
    _say("\nValidation, bits per byte: " + " → ".join(f"{line['bits_per_byte']:.2f}" for line in validation))
    memory = max(line["memory_bytes"] for line in steps)
    speed = median(line["tokens_per_s"] for line in steps)
    _say(f"{speed:,.0f} tokens/s, {memory / 1e6:.0f} MB of memory at most\n")
    _say(f"What it writes after {PROMPT!r}:\n")
    for piece in generate(run, PROMPT, Sampling(max_new_tokens=200, temperature=0.7, seed=1)):
        sys.stdout.write(piece)
    _say("\n\n" + spike_table(SpikeReport.from_dict(spikes)))
    _say("\n" + energy_table(EnergyReport.from_dict(spikes["energy"])))
    _say(f"\nThe run lies in {run.root}. Go on with it:")
    _say(f"  darkit-nb resume {run.id} train.steps=2000 train.max_seconds=null")
    _say(f"  darkit-nb generate {run.id} --prompt 'class '")


def _say(text: Any) -> None:
    print(text, flush=True)
