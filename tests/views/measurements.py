"""Histories of runs that never ran, for tests of charts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from darkit_nb.runs.history import RunHistory

ROLES = ("self_attn.q_proj", "self_attn.k_proj", "mlp.up_proj", "mlp.down_proj")


def records(
    steps: int, *, layers: int = 8, spikes_every: int = 10, attempt: int = 1, first: int = 1
) -> list[dict[str, Any]]:
    """What a run of so many steps writes."""
    random = np.random.default_rng(steps + first)
    written: list[dict[str, Any]] = []
    for step in range(first, first + steps):
        loss = 6 * math.exp(-step / 40) + 2 + 0.1 * random.normal()
        head = {"schema": 1, "attempt": attempt, "step": step, "time": 1e9 + step}
        train = {"loss": loss, "learning_rate": 1e-3, "tokens_per_s": 8000.0 + step, "memory_bytes": 900_000_000}
        written.append({**head, "kind": "train", **train})
        if step % 25 == 0:
            written.append({**head, "kind": "evaluation", "loss": loss + 0.2, "bits_per_byte": 3.0})
        if step % spikes_every == 0:
            written.append({**head, "kind": "spikes", **spikes(step, layers)})
    return written


def spikes(step: int, layers: int) -> dict[str, Any]:
    """One measurement of spikes and energy."""
    rates = [0.3 + 0.4 * math.exp(-step / 50) + 0.01 * index for index in range(layers)]
    names = [f"model.layers.{index // len(ROLES)}.{ROLES[index % len(ROLES)]}" for index in range(layers)]
    readings = {"float16": 9.4e6, "integer": 3.4e6, "bitwise": 4.8e6 * rates[0], "unary": 12e6 * rates[0]}
    return {
        "firing_rate": float(np.mean(rates)),
        "layers": [{"name": name, "firing_rate": rate} for name, rate in zip(names, rates, strict=True)],
        "energy": {"readings": [{"key": key, "total_pj": value} for key, value in readings.items()]},
    }


def history(steps: int, **options: Any) -> RunHistory:
    """The history of such a run."""
    made = RunHistory()
    made.extend(records(steps, **options))
    return made
