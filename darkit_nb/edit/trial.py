"""Trials of edits in a process beside this one, which is started once and stays warm."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import site
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from darkit_nb.edit.packing import cells_of, pack
from darkit_nb.edit.recording import Subject
from darkit_nb.edit.trial_problems import printed, stopped
from darkit_nb.edit.trial_process import last_line, make_line_file
from darkit_nb.errors import PatchError
from darkit_nb.records.patch import Patch, PatchProblem

TIME_LIMIT_S = 20.0
MEMORY_LIMIT_BYTES = 2 * 2**30
COPIES = 6
"""Copies of a module that a trial makes, with gradients: what the memory limit leaves room for besides."""

START_LIMIT_S = 300.0
_GRACE_S = 900.0
"""Beyond the time limit, which the other process keeps and prolongs for slow modules: that one may hang, too."""


@dataclass(frozen=True)
class TrialReport:
    """What a trial found.

    Attributes:
        problems: of the first check that failed.
        new, kept, dropped: parameters of the module.
        notes: what could not be checked.
        seconds: time it took, without the start of the process.
    """

    problems: tuple[PatchProblem, ...]
    new: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


class TrialSession:
    """A process for trials. It ends with this one, or when closed.

        with TrialSession() as session:
            session.run(Subject(module, calls), patch).problems

    Args:
        forks: fork for each trial; False starts a fresh process each time, as where forking is not safe.
    """

    def __init__(self, *, forks: bool = True) -> None:
        self._forks = forks
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        atexit.register(self.close)

    def __enter__(self) -> TrialSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        atexit.unregister(self.close)

    @property
    def pid(self) -> int | None:
        """Of the process, once it was started."""
        return self._process.pid if self._process else None

    def start(self) -> float:
        """Start the process if it does not run yet, and wait until it is ready; the seconds that took."""
        with self._lock:
            began = time.monotonic()
            self._serving()
            return time.monotonic() - began

    def close(self) -> None:
        """End the process, and the trial that runs in it. May be called from any thread, to give up waiting."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()  # its pipes may be in use by another thread, which finds them ended

    def run(
        self,
        subject: Subject,
        patch: Patch,
        *,
        device: str = "cpu",
        time_limit_s: float = TIME_LIMIT_S,
        memory_limit_bytes: int | None = None,
    ) -> TrialReport:
        """Try an edit on a copy of one module.

        Args:
            subject: the module, copied as it is now, without hooks.
            patch: whatever its targets are, this module is the one that is edited.
            device: kind of device to check for; the trial itself runs on the CPU.
            time_limit_s: for the checks.
            memory_limit_bytes: what the edit may take; by default 2 GB and room for a few copies of the module.

        Raises:
            PatchError: the module cannot be copied, or no process can be started.
        """
        cells = cells_of(subject.module, patch.source)
        data = pack({"subject": subject, "patch": patch.to_dict(), "device": device, "cells": cells})
        limit = MEMORY_LIMIT_BYTES + COPIES * len(data) if memory_limit_bytes is None else memory_limit_bytes
        with self._lock, tempfile.TemporaryDirectory(prefix="darkit-trial-") as folder:
            make_line_file(folder)
            request = {
                "size": len(data),
                "folder": folder,
                "modules": sorted(_installed(subject.module)),
                "path": [os.path.abspath(each) for each in sys.path],  # noqa: PTH100 - an empty entry is the folder here
                "time_limit_s": time_limit_s,
                "memory_limit_bytes": limit,
            }
            began = time.monotonic()
            answer = self._ask(request, data)
            return _report(answer, folder, time_limit_s, time.monotonic() - began)

    # -- the process -----------------------------------------------------------------------------------------------

    def _serving(self) -> subprocess.Popen[bytes]:
        if self._owner != os.getpid():  # this is a fork of who started it
            self._process, self._owner = None, os.getpid()
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "darkit_nb.edit.trial_process", *([] if self._forks else ["fresh"])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=_environment(),
        )
        self._answer(START_LIMIT_S)
        return self._process

    def _ask(self, request: Mapping[str, Any], data: bytes) -> dict[str, Any]:
        pipe: Any = self._serving().stdin
        try:
            pipe.write(json.dumps(request).encode() + b"\n")
            pipe.write(data)
            pipe.flush()
            return self._answer(request["time_limit_s"] + _GRACE_S)
        except OSError:
            raise self._lost() from None
        except BaseException:  # an interrupt: the answer that comes later belongs to nobody
            self.close()
            raise

    def _answer(self, limit_s: float) -> dict[str, Any]:
        pipe: Any = self._process.stdout if self._process else None
        ready, _, _ = select.select([pipe], [], [], limit_s)
        line = pipe.readline() if ready else b""
        if not line:
            raise self._lost()
        return json.loads(line)

    def _lost(self) -> PatchError:
        status = self._process.poll() if self._process else None
        self.close()
        return PatchError(
            "The process that tries edits does not answer.",
            expected="an answer",
            received="nothing" if status is None else f"exit status {status}",
            cause="the machine is out of memory, or too busy",
            fix="try again; `python -m darkit_nb.edit.trial_process` shows why it does not start",
        )


def trial_session() -> TrialSession:
    """The session shared by everything in this process."""
    return _SHARED


_SHARED = TrialSession()


def _environment() -> dict[str, str]:
    """For the process: few threads, whose stacks would count as memory, and the package that is imported here."""
    import darkit_nb

    home = str(Path(darkit_nb.__file__).parents[1])
    path = os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])
    threads = os.environ.get("OMP_NUM_THREADS", str(min(4, os.cpu_count() or 1)))
    ours = {"PYTHONPATH": path, "OMP_NUM_THREADS": threads, "MALLOC_ARENA_MAX": "2", "CUDA_VISIBLE_DEVICES": ""}
    return {**os.environ, **ours, "PYTHONUNBUFFERED": "1"}


def _installed(module: nn.Module) -> set[str]:
    """Modules of installed packages that hold the classes of `module`: they may stay imported between trials."""
    places = (*site.getsitepackages(), site.getusersitepackages(), sysconfig.get_paths()["stdlib"])
    found = set()
    for each in module.modules():
        for kind in type(each).__mro__:
            file = getattr(sys.modules.get(kind.__module__), "__file__", None) or ""
            if file.startswith(places):
                found.add(kind.__module__)
    return found


def _report(answer: Mapping[str, Any], folder: str, limit_s: float, seconds: float) -> TrialReport:
    outcome, output = answer.get("outcome"), answer["output"]
    if outcome is not None:
        problems = [PatchProblem(**each) for each in outcome["problems"]]
        lists = {name: tuple(outcome[name]) for name in ("new", "kept", "dropped", "notes")}
        return TrialReport(tuple(printed(each, output) for each in problems), **lists, seconds=seconds)
    if "failed" in answer:
        raise PatchError(
            "The copy of the module cannot be used in another process, so the edit cannot be tried.",
            expected="a module whose classes can be imported, or stand in cells of this notebook",
            received=answer["failed"],
        )
    problem = stopped(answer["status"], answer["stage"], last_line(folder), limit_s=limit_s, output=output)
    return TrialReport((problem,), seconds=seconds)
