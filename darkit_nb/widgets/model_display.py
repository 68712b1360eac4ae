"""What a spiking model shows itself as in a notebook: its tree, live where there is a kernel, else as a picture."""

from __future__ import annotations

from typing import Any

from IPython import get_ipython

STILL_DEPTH = 5
"""Levels of the picture."""


def show_model(model: Any) -> Any:
    """Display the tree of a model; None in a terminal and without a kernel, where its text or picture is shown."""
    shell = get_ipython()
    if not hasattr(shell, "kernel"):
        return None
    from IPython.display import display

    from darkit_nb.trace.outline import outline_model
    from darkit_nb.widgets.model_tree import ModelTree

    tree = ModelTree(outline_model(model))
    display(tree)
    return tree


def model_picture(model: Any) -> str:
    """The tree of a model as HTML that folds by itself."""
    from darkit_nb.trace.outline import outline_model
    from darkit_nb.views.tree_html import tree_html

    return tree_html(outline_model(model), depth=STILL_DEPTH)
