"""The cell in which a chosen module goes on to be edited."""

from __future__ import annotations

from typing import Any

from IPython import get_ipython

from darkit_nb.errors import PatchError
from darkit_nb.records.trace import ModelTrace
from darkit_nb.runs.run import Run
from darkit_nb.widgets.edit_desk import EditDesk, desk_of
from darkit_nb.widgets.edit_run import RunDesk
from darkit_nb.widgets.module_paths import as_python, name_of

EDIT_MODULE = {
    "name": "edit-module",
    "label": "Edit in a new cell",
    "help": "Its source in a cell of the notebook, to be changed and put back with %%darkit patch",
}
"""What a model tree offers to do with a module."""


def patch_cell(root: Any, path: str, trace: ModelTrace | None = None) -> str:
    """The text of a `%%darkit patch` cell for a module.

    Args:
        root: the model or run.
        path: of the module.
        trace: of a run's model, where it is known already.

    Raises:
        PatchError: the notebook has no name for the model, or the class no source.
    """
    shell = get_ipython()
    name = name_of(root, shell.user_ns) if shell is not None else None
    if name is None and isinstance(root, Run) and shell is not None:
        name = next((each for each, value in shell.user_ns.items() if value == root and not each.startswith("_")), None)
    if name is None:
        raise PatchError(
            "A cell has to name the model, and this notebook has no name for it.",
            expected="a variable that holds the model or run",
            received=f"one that was made inside a call, as in ModelTree({type(root).__name__}(…))",
            fix="model = …, then ModelTree(model, inputs)",
        )
    desk: EditDesk = RunDesk(root, trace) if isinstance(root, Run) else desk_of(root)
    opened = desk.open(path)
    if not opened.text:
        raise PatchError(f"{opened.class_name} cannot be edited.", received=path, cause=opened.reason)
    return f"%%darkit patch {as_python(name, opened.path)}\n{opened.text.rstrip()}"
