"""What belongs to the whole process and is none of an edit's business: seeds, defaults, other people's functions."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules import module as module_hooks

_SETTINGS: dict[str, Callable[[], Any]] = {
    "the default dtype": torch.get_default_dtype,
    "the default device": torch.get_default_device,
    "whether gradients are kept": torch.is_grad_enabled,
    "inference mode": torch.is_inference_mode_enabled,
    "the number of threads": torch.get_num_threads,
    "deterministic algorithms": torch.are_deterministic_algorithms_enabled,
    "anomaly detection": torch.is_anomaly_enabled,
    "the precision of float32 products": torch.get_float32_matmul_precision,
    "autocast": lambda: torch.is_autocast_enabled("cpu"),
    "the flags of cuDNN": lambda: (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
    "the hooks of all modules": lambda: tuple(
        len(hooks)
        for name, hooks in sorted(vars(module_hooks).items())
        if name.startswith("_global_") and isinstance(hooks, dict)
    ),
    "the limit of recursion": sys.getrecursionlimit,
    "the working folder": os.getcwd,
    "the environment variables": lambda: dict(os.environ),
}
_FOLLOW = {"Storage"}
"""Names that torch sets itself when the default dtype changes."""

_LAYERS = [kind for kind in vars(nn.modules).values() if isinstance(kind, type)]


class ProcessState:
    """The state of this process now, to see later what was changed.

    Args:
        modules: further Python modules whose names must stay what they are.
    """

    def __init__(self, modules: Iterable[ModuleType] = ()) -> None:
        self._settings = {name: read() for name, read in _SETTINGS.items()}
        self._spaces: list[tuple[str, Any, dict[str, Any], bool]] = []
        own = list(modules)
        for each in (torch, functional, torch.Tensor, nn.Module, *_LAYERS, random, np.random, *own):
            self._spaces.append((_name(each), each, dict(vars(each)), each in own))
        for each in own:
            kinds = [
                kind for kind in vars(each).values() if isinstance(kind, type) and kind.__module__ == each.__name__
            ]
            self._spaces += [(_name(kind), kind, dict(vars(kind)), True) for kind in kinds]

    def changes(self) -> list[str]:
        """What is no longer as it was, in words."""
        found = [name for name, read in _SETTINGS.items() if read() != self._settings[name]]
        for name, space, before, closed in self._spaces:
            found += [f"{name}.{key}" for key in _changed(vars(space), before, closed) if key not in _FOLLOW]
        return found


def _changed(now: Any, before: dict[str, Any], closed: bool) -> list[str]:
    # Libraries fill their own namespaces as they go; names that others put there are strange only where we own them.
    names = [key for key, value in before.items() if key not in now or now[key] is not value]
    return names + ([key for key in now if key not in before and not key.startswith("_")] if closed else [])


def _name(space: Any) -> str:
    return space.__name__ if isinstance(space, ModuleType) else f"{space.__module__}.{space.__qualname__}"


def seed(number: int) -> None:
    """Begin all three sources of random numbers from here."""
    torch.manual_seed(number)
    random.seed(number)
    np.random.seed(number)


def random_states() -> dict[str, Any]:
    """Where the sources of random numbers stand, comparable."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": bytes(torch.get_rng_state().numpy()),
        "random": random.getstate(),
        "numpy": (kind, bytes(np.asarray(keys)), *rest),
    }


def reseeded(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Sources that stand at the same place though they began from different ones: somebody set their seed."""
    return [name for name in one if one[name] == other[name]]
