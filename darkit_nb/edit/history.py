"""What was applied to a model, and what is needed to take it back. Kept on the model, so that copies have it too."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from darkit_nb.records.patch import AppliedPatch

_HISTORY = "_darkit_history"


class Undo:
    """One change of one module that can be taken back."""

    module: nn.Module

    def make(self) -> None:
        """Make it; on an error the module is as before."""
        raise NotImplementedError

    def check(self) -> None:
        """Find out whether it can be taken back.

        Raises:
            PatchError: something else was done to the module since.
        """
        raise NotImplementedError

    def revert(self) -> None:
        """Take it back."""
        raise NotImplementedError


@dataclass
class Entry:
    """A step of the history.

    Attributes:
        applied: the record of it.
        undo: changes of modules, in the order they were made; empty once reverted.
        groups: undo of the optimizer's parameter groups, None where none changed.
    """

    applied: AppliedPatch
    undo: list[Undo] = field(default_factory=list)
    groups: Any = None


def entries(model: nn.Module) -> list[Entry]:
    """The history of a model, empty where nothing was applied."""
    return vars(model).get(_HISTORY, [])


def add_entry(model: nn.Module, entry: Entry) -> None:
    """Append to the history of a model."""
    vars(model).setdefault(_HISTORY, []).append(entry)
