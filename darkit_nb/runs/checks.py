"""What can be known about a training before any process is started, without torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from darkit_nb.config import RunConfig
from darkit_nb.config.memory import check_memory
from darkit_nb.plugins import registry
from darkit_nb.records.bundled import located
from darkit_nb.runs.files import from_json

_GPU_DEVICES = ("/dev/nvidiactl", "/dev/dxg")


def check_before_start(config: RunConfig, *, memory: bool = True) -> None:
    """Refuse what is certain to fail.

    The memory of a GPU, and presets that a plug-in has yet to register, are left to the trainer.

    Args:
        config: What is to be trained.
        memory: Whether it has to fit now; a run that is queued starts when others have ended.

    Raises:
        ConfigError: it does not fit in memory; with what to lower.
        PluginError: there is no such model preset.
    """
    if config.plugins and config.model.preset not in registry("model"):
        return
    shape = model_shape(config)
    if memory and shape is not None and not may_use_gpu(config):
        check_memory(config, shape)


def model_shape(config: RunConfig) -> dict[str, Any] | None:
    """Fields of the transformers config of a preset with its overrides; None for a pretrained model.

    Raises:
        PluginError: there is no such model preset, or the plug-in it is from says no family and config.
    """
    if config.model.path is not None:
        return None
    entry = registry("model").get(config.model.preset)
    return {"model_type": entry.option("family", str), **entry.option("config", dict), **config.model.overrides}


def known_shape(config: RunConfig) -> dict[str, Any] | None:
    """As `model_shape`, also for a pretrained model whose folder is on this machine.

    Raises:
        PluginError: there is no such model preset.
    """
    if config.model.path is None:
        return model_shape(config)
    try:
        return {**from_json((Path(located(config.model.path)) / "config.json").read_bytes()), **config.model.overrides}
    except (OSError, ValueError):
        return None


def may_use_gpu(config: RunConfig) -> bool:
    """Whether the training may take a GPU, whose memory only torch can tell."""
    known = sys.platform == "linux"
    return config.train.device != "cpu" and (not known or any(Path(device).exists() for device in _GPU_DEVICES))
