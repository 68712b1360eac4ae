"""The demo's run: a spiking language model that learns Python in two minutes, on whatever machine there is."""

from __future__ import annotations

import time
from statistics import median

import torch

from darkit_nb.config import DataConfig, RunConfig
from darkit_nb.config.cores import available_cores
from darkit_nb.config.starting_points import starting_point
from darkit_nb.models.build import build_model
from darkit_nb.spikify import spikify
from darkit_nb.train.arguments import resolve_device

TRAINING_SECONDS = 100.0
"""What the demo aims at; the hard limit of its training is 120."""


def demo_config(steps: int = 450, *, seed: int = 0, runs_dir: str = "runs") -> RunConfig:
    """The demo's run: 1 M parameters, W4A4, Q = 16, 10 % salient features at two steps, all decoder linears."""
    fifth = max(1, steps // 5)
    return (
        starting_point("demo")
        .apply(RunConfig(runs_dir=runs_dir))
        .replace(
            {
                "seed": seed,
                "train.steps": steps,
                "evaluation.every": fifth,
                "monitor.spikes_every": fifth,
                "checkpoint.every": max(1, steps // 2),
            }
        )
    )


def affordable_steps(seconds: float = TRAINING_SECONDS) -> int:
    """Steps this machine trains in that time, from a few trial steps on random tokens; between 60 and 600."""
    torch.set_num_threads(min(torch.get_num_threads(), available_cores()))
    config = demo_config()
    settings: DataConfig = config.data
    device = resolve_device(config.train)
    model = build_model(config.model.preset, vocab_size=264, seq_len=settings.seq_len)
    torch.nn.Module.to(model, device)  # by name, as in `load_model`
    if config.spike is not None:
        spikify(model, config.spike)
    optimizer = torch.optim.AdamW(model.train().parameters(), fused=True)
    ids = torch.randint(0, 256, (config.train.batch_size, settings.seq_len), device=device)
    times = []
    for _ in range(6):
        start = time.perf_counter()
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()  # waits for a GPU
        times.append(time.perf_counter() - start)
    # A tenth goes to evaluation, checkpoints and the loop around the step.
    steps = min(600, max(60, 0.9 * seconds / median(times[1:])))
    return int(steps) // 5 * 5  # five evaluations, the last one at the end
