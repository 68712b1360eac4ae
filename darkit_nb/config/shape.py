"""The shape of the model a configuration names, read without building it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkit_nb.config.memory import MemoryEstimate, available_memory, check_memory, estimate_memory
from darkit_nb.config.run_config import RunConfig
from darkit_nb.errors import ConfigError
from darkit_nb.plugins import registry


def model_shape(config: RunConfig) -> dict[str, Any] | None:
    """Fields of the transformers config that will be built; None where only a download or a plug-in knows them."""
    if config.model.path is not None:
        return _shape_of_folder(Path(config.model.path).expanduser())
    models = registry("model")
    if config.model.preset not in models:
        return None
    options = models.get(config.model.preset).options
    if "config" not in options:
        return None
    return {"model_type": options.get("family"), **options["config"], **config.model.overrides}


def _shape_of_folder(folder: Path) -> dict[str, Any] | None:
    try:
        shape = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return None
    return shape if isinstance(shape, dict) else None


@dataclass(frozen=True)
class Outlook:
    """What a run will take, before it starts.

    Attributes:
        estimate: Memory and parameters; None where the shape is not known.
        free_bytes: What this machine has left.
        fix: Settings that make it fit, `key=value` separated by blanks; None where it fits, or nothing helps.
        fits: Whether it does; a run on a GPU is not judged here.
        tokens: Tokens training reads in all.
    """

    estimate: MemoryEstimate | None
    free_bytes: int
    fix: str | None
    fits: bool
    tokens: int


def outlook(config: RunConfig) -> Outlook:
    """Estimate a run with one process, from plain numbers."""
    train = config.train
    tokens = train.steps * train.batch_size * train.gradient_accumulation * config.data.seq_len
    shape, free = model_shape(config), available_memory()
    if shape is None:
        return Outlook(None, free, None, True, tokens)
    try:
        estimate = estimate_memory(config, shape, on_gpu=train.device == "cuda")
    except ConfigError:
        return Outlook(None, free, None, True, tokens)
    if train.device == "cuda":
        return Outlook(estimate, free, None, True, tokens)
    try:
        check_memory(config, shape)
    except ConfigError as error:
        fix = error.fix if error.fix and "=" in error.fix.split()[0] else None
        return Outlook(estimate, free, fix, False, tokens)
    return Outlook(estimate, free, None, True, tokens)
