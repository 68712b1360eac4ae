"""`RunConfig`: the one description of a run that Python, YAML, the command line and forms share."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from darkit_nb.config.base import PathText, Section
from darkit_nb.config.keys import known_key
from darkit_nb.config.names import RunName
from darkit_nb.config.problems import Problem, settings_error, shown, unknown_key
from darkit_nb.config.sections import (
    CheckpointConfig,
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    MonitorConfig,
    TrainConfig,
)
from darkit_nb.records.spike_spec import SpikeSpec

SCHEMA_VERSION = 1


class RunConfig(Section):
    """Everything that decides a training run, checked when it is made.

    Build it in Python (`RunConfig(train=TrainConfig(steps=200))`), from YAML and overrides (`load_config`), or from
    another one (`config.replace({"train.steps": 200})`).

    Raises:
        ConfigError: on construction; lists every wrong key with what was expected and received.
    """

    schema_version: int = Field(
        default=SCHEMA_VERSION,
        ge=1,
        le=SCHEMA_VERSION,
        alias="schema",
        description="Version of this configuration's layout.",
    )
    name: RunName | None = Field(default=None, description="Name of the run; null derives one from the model.")
    seed: int = Field(
        default=0, ge=0, le=2**32 - 1, description="Seed of weights, data order and every other random choice."
    )
    runs_dir: PathText = Field(
        default="runs", min_length=1, description="Folder in which the run's own folder is made."
    )
    plugins: list[str] = Field(
        default_factory=list, description="Modules to import first; they register models, neurons, datasets, metrics."
    )
    model: ModelConfig = Field(default_factory=ModelConfig, description="Which language model is trained.")
    spike: SpikeSpec | None = Field(
        default=SpikeSpec(),
        description="How activations become spikes; null trains the model in float, as the control.",
    )
    data: DataConfig = Field(default_factory=DataConfig, description="Which text the model reads, and how it is cut.")
    train: TrainConfig = Field(default_factory=TrainConfig, description="How long, how fast and on what to train.")
    evaluation: EvaluationConfig = Field(
        default_factory=EvaluationConfig, description="How often and on how much to validate."
    )
    monitor: MonitorConfig = Field(default_factory=MonitorConfig, description="What a run writes down while training.")
    checkpoint: CheckpointConfig = Field(
        default_factory=CheckpointConfig, description="When a run saves what it needs to go on."
    )

    @field_validator("spike", mode="before")
    @classmethod
    def _strict_spike(cls, value: Any) -> Any:
        """Refuse text for numbers in `spike` too: a stdlib dataclass is validated leniently otherwise."""
        if not isinstance(value, Mapping):
            return value
        hints = typing.get_type_hints(SpikeSpec)
        accepted: dict[Any, tuple[type, ...]] = {int: (int,), float: (int, float), bool: (bool,)}
        wrong = [
            Problem(
                key=str(name),
                message=f"spike.{name} cannot be {shown(entry)}.",
                expected={int: "an integer", float: "a number", bool: "true or false"}[hints[name]],
                received=shown(entry),
                fix=SpikeSpec.__dataclass_fields__[name].metadata["description"],
            )
            for name, entry in value.items()
            if hints.get(name) in accepted
            and (not isinstance(entry, accepted[hints[name]]) or (isinstance(entry, bool) and hints[name] is not bool))
        ]
        if wrong:
            raise settings_error(wrong)
        return dict(value)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        problems = [*_window_problems(self), *_arithmetic_problems(self), *_fork_problems(self)]
        if problems:
            raise settings_error(problems)
        return self

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain data with YAML's key names."""
        return self.model_dump(mode="json", by_alias=True)

    def replace(self, changes: Mapping[str, Any]) -> RunConfig:
        """A new configuration with some dotted keys changed.

        Args:
            changes: Dotted key → value, such as `{"train.steps": 200, "spike.num_levels": 2}`.

        Raises:
            ConfigError: an unknown key, or a value that does not fit.
        """
        return RunConfig.model_validate(apply_changes(self.to_dict(), changes))


def apply_changes(data: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Set dotted keys in nested plain data; sections that are null or absent start from their defaults.

    Raises:
        ConfigError: keys that do not exist, all of them named.
    """
    unknown = [unknown_key(RunConfig, key, value) for key, value in changes.items() if not known_key(RunConfig, key)]
    if unknown:
        raise settings_error(unknown)
    result = dict(data)
    for key, value in changes.items():
        *parents, leaf = key.split(".")
        inner = result
        for parent in parents:
            found = inner.get(parent)
            inner[parent] = dict(found) if isinstance(found, Mapping) else {}
            inner = inner[parent]
        inner[leaf] = value
    return result


def _window_problems(config: RunConfig) -> list[Problem]:
    data, problems = config.data, []
    for name in ("max_train_tokens", "max_validation_tokens"):
        limit = getattr(data, name)
        if limit is not None and limit < data.seq_len:
            problems.append(
                Problem(
                    key=f"data.{name}",
                    message=f"data.{name} does not fill one window.",
                    expected=f"at least data.seq_len = {data.seq_len}",
                    received=shown(limit),
                    fix=f"raise data.{name}, or lower data.seq_len",
                )
            )
    for name in ("max_position_embeddings", "n_positions"):
        positions = config.model.overrides.get(name)
        if isinstance(positions, int) and positions < data.seq_len:
            problems.append(
                Problem(
                    key=f"model.overrides.{name}",
                    message="The model has fewer positions than a window has tokens.",
                    expected=f"at least data.seq_len = {data.seq_len}",
                    received=shown(positions),
                    fix=f"raise model.overrides.{name}, or lower data.seq_len",
                )
            )
    return problems


def _arithmetic_problems(config: RunConfig) -> list[Problem]:
    if config.train.device != "cpu" or config.train.precision != "float16":
        return []
    return [
        Problem(
            key="train.precision",
            message="float16 training needs a GPU.",
            expected="float32 or bfloat16 with train.device=cpu",
            received=shown(config.train.precision),
            fix="set train.precision=bfloat16 or train.precision=float32",
        )
    ]


def _fork_problems(config: RunConfig) -> list[Problem]:
    if not config.model.fork_replay or config.model.fork is not None:
        return []
    return [
        Problem(
            key="model.fork_replay",
            message="There is no fork whose edits could be repeated.",
            expected="model.fork with model.fork_replay=true",
            received="model.fork=null",
            fix="name a fork with model.fork, or drop model.fork_replay",
        )
    ]
