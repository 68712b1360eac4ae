"""`lab`: JupyterLab with the quickstart open."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from darkit_nb.errors import DarkitError

QUICKSTART = "01_quickstart.ipynb"
OTHERS = ("02_convert.ipynb", "03_edit.ipynb")
"""What is put beside it."""

_PACKAGE = Path(__file__).parent.parent
FOLDERS = (_PACKAGE / "notebooks", _PACKAGE.parent / "notebooks")
"""Inside the wheel, and beside the package in a checkout."""


def lab(
    folder: str = ".",
    /,
    *options: Annotated[str, Parameter(allow_leading_hyphen=True, metavar="JUPYTER OPTION")],
) -> None:
    """Start JupyterLab in a folder, with the quickstart open.

    The notebooks on training, converting and editing are copied there, but never over one of the same name; runs go
    to its folder `runs`.

    Try:

        darkit-nb lab
        darkit-nb lab my-models --no-browser --port=9000

    Args:
        folder: Where to work; made if it does not exist.
        options: Passed on to `jupyter lab`.
    """
    if find_spec("jupyterlab") is None:
        raise DarkitError(
            "JupyterLab is not installed here.",
            expected=f"the package jupyterlab beside {sys.executable}",
            received="no such package",
            fix=f"{sys.executable} -m pip install jupyterlab",
        )
    place = _with_quickstart(Path(folder).expanduser())
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={place}"]
    command += [f"--LabApp.default_url=/lab/tree/{QUICKSTART}", *options]
    sys.stdout.flush()
    os.execv(command[0], command)  # noqa: S606 # it becomes JupyterLab, which then gets Ctrl-C itself


def _with_quickstart(folder: Path) -> Path:
    source = next((path / QUICKSTART for path in FOLDERS if (path / QUICKSTART).is_file()), None)
    if source is None:
        raise DarkitError(
            "The quickstart notebook is missing.",
            expected=" or ".join(str(path / QUICKSTART) for path in FOLDERS),
            received="neither file",
            cause="an incomplete installation",
            fix="pip install --force-reinstall darkit-nb",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (QUICKSTART, *OTHERS):
            if not (folder / name).exists() and (source.parent / name).is_file():
                shutil.copyfile(source.parent / name, folder / name)
    except OSError as error:
        raise DarkitError(
            f"{folder} cannot be worked in.",
            expected="a folder this user may write to",
            received=f"{type(error).__name__}: {error}",
            fix="name another one: darkit-nb lab FOLDER",
        ) from error
    return folder.resolve()
