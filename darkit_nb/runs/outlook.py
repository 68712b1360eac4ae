"""What a run will take, estimated before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from darkit_nb.config import RunConfig
from darkit_nb.config.memory import MemoryEstimate, available_memory, check_memory, estimate_memory
from darkit_nb.errors import ConfigError, PluginError
from darkit_nb.runs.checks import known_shape, may_use_gpu


@dataclass(frozen=True)
class Outlook:
    """What a run will take, before it starts.

    Attributes:
        estimate: Memory and parameters; None where only a download or a plug-in knows the model's shape.
        free_bytes: What this machine has left; None where a GPU's memory is meant, which nobody asks here.
        fits: Whether it does; a run that may use a GPU is not judged.
        fix: Settings that make it fit, `key=value` separated by blanks; None where it fits, or nothing helps.
        tokens: Tokens training reads in all.
    """

    estimate: MemoryEstimate | None
    free_bytes: int | None
    fits: bool
    fix: str | None
    tokens: int


def outlook(config: RunConfig) -> Outlook:
    """Estimate a run of one process, from plain numbers."""
    train = config.train
    tokens = train.steps * train.batch_size * train.gradient_accumulation * config.data.seq_len
    on_gpu = may_use_gpu(config)
    free = None if on_gpu else available_memory()
    try:
        shape = known_shape(config)
        estimate = None if shape is None else estimate_memory(config, shape, on_gpu=on_gpu)
    except (ConfigError, PluginError, KeyError):  # a shape of another kind: the trainer will know
        return Outlook(None, free, True, None, tokens)
    fits, fix = (True, None) if shape is None or on_gpu else _judged(config, shape)
    return Outlook(estimate, free, fits, fix, tokens)


def _judged(config: RunConfig, shape: dict[str, Any]) -> tuple[bool, str | None]:
    try:
        check_memory(config, shape)
    except ConfigError as error:
        settings = error.fix if error.fix and all("=" in word for word in error.fix.split()) else None
        return False, settings
    return True, None
