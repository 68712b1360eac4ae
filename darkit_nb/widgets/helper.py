"""Have something done in a process of its own, and hear what came of it: models are loaded there, not here."""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Told = Callable[[str, "dict[str, Any] | None"], None]
_PREFIX = "darkit-nb: "
_PARTS = {"expected": "expected", "received": "received", "likely cause": "cause", "what to do": "fix"}

log = logging.getLogger(__name__)


class Helper:
    """One `python -m module …` of ours that ends by itself; by default it is `darkit-nb …`.

    Args:
        arguments: what stands after the module.
        told: receives, on a thread of this object's, what the command wrote and None, or "" and a problem in the form
            of `DarkitError.to_dict`. A cancelled command says nothing.
        module: dotted name.
    """

    def __init__(self, arguments: Sequence[str], told: Told, *, module: str = "darkit_nb") -> None:
        self._told = told
        self._cancelled = threading.Event()
        # Files, not pipes: nobody reads while it works, and a page that is gone must not stop it.
        self._out, self._errors = (tempfile.TemporaryFile("w+b") for _ in range(2))  # noqa: SIM115 - outlive us
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module, a list of arguments
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._errors,
            cwd=Path.cwd(),
            start_new_session=True,
        )
        threading.Thread(target=self._wait, name="darkit-helper", daemon=True).start()

    @property
    def pid(self) -> int:
        """Process id of the command."""
        return self._process.pid

    def cancel(self) -> None:
        """End it."""
        self._cancelled.set()
        self._process.terminate()

    def _wait(self) -> None:
        status = self._process.wait()
        with self._out as out, self._errors as errors:
            texts = []
            for file in (out, errors):
                file.seek(0)
                texts.append(file.read().decode("utf-8", "replace"))
        if self._cancelled.is_set():
            return
        try:
            if status == 0:
                self._told(texts[0], None)
            else:
                self._told("", problem_in(texts[1], status))
        except Exception:
            log.exception("what %s said could not be used", self._process.args)


def problem_in(text: str, status: int) -> dict[str, Any]:
    """What a command said when it gave up, taken apart again.

    Args:
        text: its standard error.
        status: its exit status.
    """
    start = text.rfind(_PREFIX)
    if start < 0:
        last = next((line for line in reversed(text.splitlines()) if line.strip()), "nothing was said")
        killed = status in (-9, 137)
        return {
            "message": "The process that was asked ended before it was done.",
            "received": f"exit status {status}: {last.strip()}",
            "cause": "the machine ran out of memory" if killed else "a fault of darkit-nb, not of yours",
        }
    message, *rest = text[start + len(_PREFIX) :].rstrip().splitlines()
    found: dict[str, Any] = {"message": message}
    last_part = "message"
    for line in rest:
        name, colon, value = line.strip().partition(": ")
        if colon and line.startswith("  ") and name in _PARTS:
            last_part = _PARTS[name]
            found[last_part] = value
        else:
            found[last_part] += f"\n{line.strip()}"
    return found
