"""A look at data that goes on beside the caller: progress, result, problem, cancel."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import Any

from darkit_nb.config import RunConfig
from darkit_nb.data.look import DataLook

_GRACE_S = 3.0
Told = Callable[[str, Any], None]


class LookJob:
    """One worker process and the thread that reads it.

    Args:
        config: Whose data is looked at.
        told: Called from the thread with `progress` and its stage and fraction, then once with `look` and a `DataLook`
            or `problem` and plain data. A cancelled job says nothing more.
    """

    def __init__(self, config: RunConfig, told: Told) -> None:
        self._told = told
        self._cancelled = threading.Event()
        request = json.dumps({"data": config.to_dict()["data"], "plugins": list(config.plugins)})
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - outlives us
        self._process = subprocess.Popen(
            [sys.executable, "-m", "darkit_nb.data.look_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,
        )
        self._thread = threading.Thread(target=self._read, args=(request,), daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._process.pid

    def cancel(self) -> None:
        """End the worker; it has three seconds to tidy up."""
        self._cancelled.set()
        self._process.terminate()
        killer = threading.Timer(_GRACE_S, self._process.kill)
        killer.daemon = True
        killer.start()

    def wait(self, timeout_s: float | None = None) -> None:
        """Until everything has been told."""
        self._thread.join(timeout_s)

    def _read(self, request: str) -> None:
        ended = False
        with self._process as process, self._errors:
            if process.stdin is not None and process.stdout is not None:
                try:
                    process.stdin.write(request)
                    process.stdin.close()
                except OSError:  # it has ended already, and its errors say why
                    pass
                for line in process.stdout:
                    ended = self._pass_on(json.loads(line)) or ended
            status = process.wait()
            if not ended:
                self._errors.seek(0)
                self._tell("problem", _crash(status, self._errors.read()))

    def _pass_on(self, line: dict[str, Any]) -> bool:
        (kind, content), *_ = line.items()
        self._tell(kind, DataLook.from_dict(content) if kind == "look" else content)
        return kind != "progress"

    def _tell(self, kind: str, content: Any) -> None:
        if not self._cancelled.is_set():
            self._told(kind, content)


def _crash(status: int, errors: str) -> dict[str, str]:
    last = (errors.strip().splitlines() or ["nothing was said"])[-1]
    killed = status in (-9, 137)
    return {
        "message": "The process that looks at the data ended before it was done.",
        "received": f"exit status {status}: {last}",
        "cause": "the machine ran out of memory" if killed else "a fault in the package or in a plug-in",
        "fix": "set data.max_train_tokens, or data.streaming=true" if killed else "`darkit-nb data` shows all of it",
    }
