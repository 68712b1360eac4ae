"""What has to hold before a run can go on, found out without torch."""

from __future__ import annotations

from collections.abc import Sequence

from darkit_nb.config import RunConfig, parse_overrides
from darkit_nb.errors import ConfigError, RunError
from darkit_nb.runs.checkpoints import Checkpoint
from darkit_nb.runs.directory import RunDirectory

CHANGEABLE = (
    "train.steps",
    "train.max_seconds",
    "train.num_threads",
    "train.tensorboard",
    "checkpoint.",
    "evaluation.",
    "monitor.",
)
"""Settings that do not change what is trained."""

OPTIMIZER_FILE = "optimizer.pt"


def plan_resume(run: RunDirectory, overrides: Sequence[str] = ()) -> tuple[RunConfig, Checkpoint | None]:
    """The configuration and checkpoint a run goes on with; no checkpoint means from the beginning.

    Args:
        run: The run.
        overrides: `key=value` for settings that do not change what is trained, such as `train.steps=2000`.

    Raises:
        RunError: all steps are done, or the checkpoint lacks the optimizer state.
        ConfigError: an override that would make it another training.
    """
    config = _with_overrides(run.read_config(), overrides)
    checkpoint = run.latest_checkpoint()
    if checkpoint is None:
        return config, None
    if not (checkpoint.path / OPTIMIZER_FILE).is_file():
        raise RunError(
            f"The run {run.id} has a model and no optimizer state, so its training cannot go on exactly.",
            expected=f"{OPTIMIZER_FILE} in {checkpoint.path.name}",
            received="a checkpoint without it",
            cause="it was imported, and pickled training state is not taken from elsewhere",
            fix=f"train from its weights: darkit-nb train model.path={checkpoint.path}",
        )
    if checkpoint.step >= config.train.steps:
        raise RunError(
            f"The run {run.id} has done all its {config.train.steps} steps.",
            expected=f"train.steps above {checkpoint.step}",
            received=f"train.steps={config.train.steps}",
            fix=f"darkit-nb resume {run.id} train.steps={2 * checkpoint.step}",
        )
    return config, checkpoint


def _with_overrides(config: RunConfig, overrides: Sequence[str]) -> RunConfig:
    changes = parse_overrides(overrides)
    refused = [key for key in changes if not key.startswith(CHANGEABLE)]
    if refused:
        raise ConfigError(
            f"{', '.join(refused)} cannot change when a run is resumed.",
            expected=f"only {', '.join(key.rstrip('.') for key in CHANGEABLE)}",
            received=", ".join(f"{key}={changes[key]!r}" for key in refused),
            cause="it would be another training under the old run's name",
            fix="start a new run with these settings, from this one's checkpoint with model.path=…",
        )
    return config.replace(changes)
