"""Starting processes that outlive the one that starts them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from darkit_nb.errors import RunError
from darkit_nb.runs.files import from_json, writing

_COLOURS = ("FORCE_COLOR", "CLICOLOR_FORCE")
"""Variables by which a notebook's kernel asks for colours; in a log they draw progress bars over and over."""


def detached(module: str, arguments: Sequence[str], *, log: Path, cwd: Path) -> subprocess.Popen[Any]:
    """Run `python -m module arguments…` in a session of its own, without our input, sockets or terminal.

    Args:
        module: Dotted name.
        arguments: Its arguments.
        log: File its output is appended to. Never a pipe: one that nobody reads any more would stop the process.
        cwd: Where relative paths start.

    Raises:
        RunError: the log cannot be written, or the process not started.
    """
    with writing(log):
        stream = log.open("ab")
    with stream:
        try:
            return subprocess.Popen(  # noqa: S603 - our own interpreter, a fixed module, a list of arguments
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={name: value for name, value in os.environ.items() if name not in _COLOURS},
                close_fds=True,
                **_own_session(),
            )
        except OSError as error:
            raise RunError(
                "A process could not be started.",
                expected=f"{sys.executable} -m {module} in {cwd}",
                received=f"{type(error).__name__}: {error}",
                cause="too many processes or too little memory on this machine",
            ) from error


def _own_session() -> dict[str, Any]:
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    return {"start_new_session": True}


def reap(process: subprocess.Popen[Any]) -> None:
    """Collect a child's exit when it comes, so that no zombie stays; nobody has to wait for it."""
    threading.Thread(target=process.wait, name=f"darkit-reap-{process.pid}", daemon=True).start()


def working_folder(root: Path) -> Path:
    """The folder a run was made in, where its relative paths start; this process's own where it is gone."""
    try:
        recorded = Path(from_json((root / "env.json").read_bytes())["cwd"])
    except (OSError, ValueError, KeyError, TypeError):
        return Path.cwd()
    return recorded if recorded.is_dir() else Path.cwd()
