"""An edit that leaves `__init__` alone: the module gets another class and stays the same object."""

from __future__ import annotations

import ast

from torch import nn

from darkit_nb.edit.class_text import attributes_in, edited_class
from darkit_nb.edit.history import Undo
from darkit_nb.edit.lineage import original_class
from darkit_nb.edit.source import class_text
from darkit_nb.errors import PatchError

_STORES = ("_parameters", "_buffers", "_modules")


class ClassChange(Undo):
    """A module that gets another class.

    Args:
        path: of the module.
        module: what changes.
        kind: the edited class.
    """

    def __init__(self, path: str, module: nn.Module, kind: type) -> None:
        if "forward" in vars(module):
            raise PatchError(
                f"The forward of {path or 'the model'} was replaced on the object itself.",
                cause="accelerate and some profilers do so",
                fix="apply the patch before the model is prepared, or edit a module inside it",
            )
        self.path, self.module = path, module
        self.before, self.after = type(module), kind

    def check(self) -> None:
        """The module still has the class this change gave it."""
        if type(self.module) is not self.after:
            raise PatchError(
                f"{self.path or 'The model'} was changed by other means since it was patched.",
                expected=f"the class of the patch, {self.after.__module__}.{self.after.__qualname__}",
                received=f"{type(self.module).__module__}.{type(self.module).__qualname__}",
                fix="undo that change first",
            )


class ClassSwap(ClassChange):
    """Gives a module its edited class, and later its old one, with what the edit's code added to it taken away."""

    def __init__(self, path: str, module: nn.Module, kind: type) -> None:
        super().__init__(path, module, kind)
        self.written = _written(kind) - _written(type(module))
        self.held = {store: {name for name in self.written if name in vars(module)[store]} for store in _STORES}
        self.values = {name: value for name, value in vars(module).items() if name in self.written}

    def make(self) -> None:
        """Swap the class."""
        try:
            self.module.__class__ = self.after
        except TypeError as error:
            raise PatchError(
                f"{self.path or 'The model'} cannot take the edited class.",
                received=str(error),
                cause="the edit adds __slots__ or a base class written in C",
            ) from error

    def revert(self) -> None:
        """The old class again; attributes that only the edit's code writes are as they were."""
        self.module.__class__ = self.before
        for name in self.written:
            for store in _STORES:
                if name not in self.held[store]:
                    vars(self.module)[store].pop(name, None)
            vars(self.module).pop(name, None)
        vars(self.module).update(self.values)


def _written(kind: type) -> set[str]:
    """Attributes of `self` that a class assigns, by its text; of a class without text, none."""
    text = class_text(kind)[0]
    node = edited_class(ast.parse(text), original_class(kind).__name__)
    return set(attributes_in(node).written) if node else set()
