"""Configurations worth starting from: the one list that forms, the demo and benchmarks read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from darkit_nb.config.run_config import RunConfig
from darkit_nb.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class StartingPoint:
    """A named set of changes.

    Attributes:
        name: Short and stable.
        title: For people.
        description: What it is good for, in one sentence.
        scope: `run` replaces every setting but name and folder; `spike` only the neuron's.
        changes: Dotted key → value, on top of the defaults.
    """

    name: str
    title: str
    description: str
    scope: Literal["run", "spike"]
    changes: dict[str, Any] = field(default_factory=dict)

    def apply(self, config: RunConfig) -> RunConfig:
        """That configuration with this starting point."""
        if self.scope == "run":
            kept = {"name": config.name, "runs_dir": config.runs_dir}
            return RunConfig().replace({**self.changes, **kept})
        if "spike" in self.changes:
            return config.replace(self.changes)
        return config.replace({"spike": {key.removeprefix("spike."): value for key, value in self.changes.items()}})


_SHORT = {
    "model.preset": "spike-llama-nano",
    "data.dataset": "stdlib",
    "data.tokenizer": "bytes",
    "train.batch_size": 8,
    "train.learning_rate": 6e-3,
    "train.min_learning_rate_ratio": 0.05,
    "evaluation.windows": 32,
    "checkpoint.keep": 2,
}
_TERNARY = {"spike.num_levels": 2, "spike.num_steps": 1, "spike.salient_fraction": 0.0, "spike.signed": True}

STARTING_POINTS: tuple[StartingPoint, ...] = (
    StartingPoint(
        name="first-spikes",
        title="First spikes in a minute",
        description="A 1 M parameter Llama on Python source, 60 steps: just long enough to see it learn and spike.",
        scope="run",
        changes=_SHORT
        | {
            "data.seq_len": 128,
            "train.steps": 60,
            "train.warmup_steps": 6,
            "evaluation.every": 20,
            "evaluation.windows": 16,
            "monitor.spikes_every": 20,
            "checkpoint.every": 30,
        },
    ),
    StartingPoint(
        name="demo",
        title="The two-minute demo",
        description="The run of darkit-nb demo: real Python learnt in two minutes on a laptop's CPU.",
        scope="run",
        changes=_SHORT
        | {
            "data.seq_len": 256,
            "train.steps": 450,
            "train.max_seconds": 120.0,
            "train.warmup_steps": 30,
            "evaluation.every": 90,
            "monitor.spikes_every": 90,
            "checkpoint.every": 225,
        },
    ),
    StartingPoint(
        name="defaults",
        title="All defaults",
        description="1000 steps of the nano model with the default neuron.",
        scope="run",
    ),
    StartingPoint(
        name="w4a4",
        title="W4A4, Q = 16, 10 % at two steps",
        description="4-bit weights and spikes; a tenth of the features fires twice. The default neuron.",
        scope="spike",
    ),
    StartingPoint(
        name="radix",
        title="W4A4, Q = 16, two radix steps",
        description="Salient features get a range of their own and a second, finer step: closest to float.",
        scope="spike",
        changes={"spike.coding": "radix", "spike.ranges": "own"},
    ),
    StartingPoint(
        name="binary",
        title="Binary spikes, Q = 2 at four steps",
        description="Every feature fires 0 or 1, four times a token.",
        scope="spike",
        changes={"spike.num_levels": 2, "spike.num_steps": 4, "spike.salient_fraction": 1.0},
    ),
    StartingPoint(
        name="ternary",
        title="Ternary spikes, one step",
        description="Every feature fires −1, 0 or 1, once a token: the cheapest neuron, and the hardest to train.",
        scope="spike",
        changes=_TERNARY,
    ),
    StartingPoint(
        name="float",
        title="Float model, no spikes",
        description="The control: the same model and training without neurons.",
        scope="spike",
        changes={"spike": None},
    ),
)


def starting_point(name: str) -> StartingPoint:
    """The starting point of that name.

    Raises:
        ConfigError: there is none.
    """
    for point in STARTING_POINTS:
        if point.name == name:
            return point
    raise ConfigError(
        f"There is no starting point {name!r}.",
        expected=f"one of {', '.join(point.name for point in STARTING_POINTS)}",
        received=repr(name),
    )
