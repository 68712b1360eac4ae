"""Post-training conversion: a trained decoder becomes a spiking one, block by block.

Importing this package loads neither torch nor transformers; each name loads what it needs when used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_EXPORTS = {
    "conversion_plan": "darkit_nb.convert.driver",
    "convert_model": "darkit_nb.convert.driver",
}

__all__ = [*_EXPORTS]

if TYPE_CHECKING:
    from darkit_nb.convert.driver import conversion_plan as conversion_plan
    from darkit_nb.convert.driver import convert_model as convert_model


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value
