"""Runs with a few measurements, for tests of what is read from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from darkit_nb.config import RunConfig
from darkit_nb.runs import RunDirectory


def make(runs_dir: Path, name: str, **changes: Any) -> RunDirectory:
    return RunDirectory.create(RunConfig(runs_dir=str(runs_dir), name=name).replace(changes), command="x")


def measured(run: RunDirectory, loss: float) -> RunDirectory:
    run.begin_attempt()
    for step in (1, 2):
        run.append_metrics(
            {"kind": "train", "step": step, "loss": loss / step, "tokens_per_s": 100.0, "step_seconds": 0.5}
        )
    run.append_metrics({"kind": "evaluation", "step": 2, "loss": loss, "bits_per_byte": 2 * loss})
    readings = [{"key": "float16", "total_pj": 9.0}, {"key": "unary", "total_pj": 3.0}]
    run.append_metrics({"kind": "spikes", "step": 2, "firing_rate": 0.25, "energy": {"readings": readings}})
    run.write_status(step=2, total_steps=4)
    return run
