"""How a spiking model shows itself in a notebook: as its tree, found in the registry of displays."""

from __future__ import annotations

import weakref
from typing import Any

from torch import nn

from darkit_nb.errors import PluginError
from darkit_nb.plugins import registry

_METHODS = {"_ipython_display_": "model", "_repr_html_": "model-picture"}
"""What a notebook asks an object for, and which display answers it."""


class NotebookFace:
    """Stands in a model for a method its class does not have, so that no class of transformers is touched.

    It holds the model weakly: a model nobody else holds goes at once, and its memory with it. Copies and pickles of a
    model show themselves, not the original.

    Args:
        model: what it shows.
        display: name in the registry of displays.
    """

    def __init__(self, model: nn.Module, display: str) -> None:
        self._model, self._display = weakref.ref(model), display

    def __call__(self) -> Any:
        """What the display makes of the model.

        Raises:
            NotImplementedError: nothing; a notebook then goes on to the next way to show it.
        """
        model = self._model()
        try:
            show = registry("display").get(self._display).load()
        except PluginError as error:
            raise NotImplementedError from error
        shown = None if model is None else show(model)
        if shown is None:
            raise NotImplementedError
        return shown

    def __deepcopy__(self, memo: dict[int, Any]) -> NotebookFace:
        model = self._model()
        return NotebookFace(memo.get(id(model), model), self._display)

    def __reduce__(self) -> tuple[Any, ...]:
        return _empty_face, (), {"model": self._model(), "display": self._display}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._model, self._display = weakref.ref(state["model"]), state["display"]


def _empty_face() -> NotebookFace:
    return NotebookFace.__new__(NotebookFace)


def give_face(model: nn.Module) -> None:
    """Let a model show itself as its tree in notebooks; everywhere else it looks as before."""
    for method, display in _METHODS.items():
        setattr(model, method, NotebookFace(model, display))


def take_face(model: nn.Module) -> None:
    """Undo `give_face`."""
    for method in _METHODS:
        if isinstance(vars(model).get(method), NotebookFace):
            delattr(model, method)
