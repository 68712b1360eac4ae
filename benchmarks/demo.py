"""The demo as a row: what two minutes on this machine give."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.harness import spread
from darkit_nb.train.demo import affordable_steps, demo_config
from darkit_nb.train.launch import train


def run(quick: bool) -> Iterator[dict[str, Any]]:
    """Train the demo's run and read its metrics."""
    steps = 5 if quick else affordable_steps()
    with tempfile.TemporaryDirectory() as folder:
        config = demo_config(steps, runs_dir=folder)
        start = time.perf_counter()
        lines = train(config, progress=False).read_metrics()
        seconds = time.perf_counter() - start
    scores = [line["bits_per_byte"] for line in lines if line["kind"] == "evaluation"]
    steps_done = [line for line in lines if line["kind"] == "train"]
    if not scores[-1] < scores[0]:
        raise AssertionError(f"nothing was learnt: {scores}")
    spikes = [line for line in lines if line["kind"] == "spikes"][-1]
    yield {
        "preset": config.model.preset,
        "spike": config.spike.to_dict() if config.spike else None,
        "shape": "8 × 256 bytes a step",
        "dtype": "float32",
        "steps": len(steps_done),
        "seconds": round(seconds, 1),
        "bits_per_byte": {"before": round(scores[0], 3), "after": round(scores[-1], 3)},
        "tokens_per_s": spread([line["tokens_per_s"] for line in steps_done]),
        "memory_mb": round(max(line["memory_bytes"] for line in steps_done) / 1e6),
        "firing_rate": round(spikes["firing_rate"], 4),
        "energy_uj_per_token": {
            reading["key"]: round(sum(reading[part] for part in PARTS) / 1e6, 3)
            for reading in spikes["energy"]["readings"]
        },
    }


PARTS = ("layers_pj", "encoding_pj", "float_pj", "memory_pj")
