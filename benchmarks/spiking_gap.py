"""What spiking costs in quality: the demo's preset with and without it, same data, same steps, three seeds.

One row a variant: validation loss of each seed, and its gap to the float model of the same seed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

from benchmarks.harness import spread
from darkit_nb.config import RunConfig
from darkit_nb.train.demo import demo_config
from darkit_nb.train.launch import train

STEPS = 400
VARIANTS: dict[str, dict[str, Any]] = {
    "float": {"spike": None},
    "W4A4, Q=16, 10 % at two steps": {},
    "W4A4, Q=16, 10 % at two radix steps, own range": {"spike.coding": "radix", "spike.ranges": "own"},
    "W4, Q=2 at four steps": {"spike.num_levels": 2, "spike.num_steps": 4, "spike.salient_fraction": 1.0},
    "W4, ternary, one step": {
        "spike.num_levels": 2,
        "spike.num_steps": 1,
        "spike.salient_fraction": 0.0,
        "spike.signed": True,
    },
}


def _score(config: RunConfig) -> dict[str, float]:
    run = train(config, progress=False)
    return [line for line in run.read_metrics() if line["kind"] == "evaluation"][-1]


def run(quick: bool) -> Iterator[dict[str, Any]]:
    """Train every variant with every seed; the float model of a seed is the baseline of that seed."""
    steps, seeds, windows = (4, (0,), 4) if quick else (STEPS, (0, 1, 2), 256)
    baseline: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, changes in VARIANTS.items():
            common = {
                "evaluation.every": 0,
                "evaluation.windows": windows,
                "monitor.spikes_every": 0,
                "checkpoint.every": 0,
                "train.max_seconds": None,
            }
            configs = [demo_config(steps, seed=seed, runs_dir=folder).replace({**common, **changes}) for seed in seeds]
            scores = [_score(config) for config in configs]
            losses = [score["loss"] for score in scores]
            baseline = baseline or losses
            gaps = [100 * (loss / base - 1) for loss, base in zip(losses, baseline, strict=True)]
            yield {
                "variant": name,
                "preset": configs[0].model.preset,
                "spike": configs[0].spike.to_dict() if configs[0].spike else None,
                "steps": steps,
                "tokens": steps * configs[0].train.batch_size * configs[0].data.seq_len,
                "seeds": list(seeds),
                "validation_windows": windows,
                "validation_loss": [round(loss, 4) for loss in losses],
                "bits_per_byte": spread([score["bits_per_byte"] for score in scores]),
                "gap_percent": spread(gaps),
            }
