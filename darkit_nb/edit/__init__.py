"""Edit a module in a cell and put it back into the live model: source, patch, checks, apply, revert, fork."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_EXPORTS = {
    "Fork": ("darkit_nb.edit.fork", "Fork"),
    "apply_patch": ("darkit_nb.edit.apply", "apply"),
    "make_patch": ("darkit_nb.edit.apply", "make_patch"),
    "make_spec_patch": ("darkit_nb.edit.spec_edit", "make_spec_patch"),
    "module_source": ("darkit_nb.edit.source", "module_source"),
    "patch_history": ("darkit_nb.edit.apply", "history"),
    "revert_patch": ("darkit_nb.edit.apply", "revert"),
    "validate_patch": ("darkit_nb.edit.validate", "validate"),
}

__all__ = [
    "Fork",
    "apply_patch",
    "make_patch",
    "make_spec_patch",
    "module_source",
    "patch_history",
    "revert_patch",
    "validate_patch",
]

if TYPE_CHECKING:
    from darkit_nb.edit.apply import apply as apply_patch
    from darkit_nb.edit.apply import history as patch_history
    from darkit_nb.edit.apply import make_patch as make_patch
    from darkit_nb.edit.apply import revert as revert_patch
    from darkit_nb.edit.fork import Fork as Fork
    from darkit_nb.edit.source import module_source as module_source
    from darkit_nb.edit.spec_edit import make_spec_patch as make_spec_patch
    from darkit_nb.edit.validate import validate as validate_patch


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _EXPORTS[name]
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value
