"""DarKit-NB: the notebook where you can see a language model spike.

Importing this package loads neither torch, transformers, cupy nor ipywidgets; each name loads what it needs when used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_EXPORTS = {
    "SpikeSpec": "darkit_nb.records.spike_spec",
}

__all__ = ["__version__", *_EXPORTS]

if TYPE_CHECKING:
    from darkit_nb.records.spike_spec import SpikeSpec as SpikeSpec


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
