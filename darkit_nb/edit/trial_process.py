"""The process edits are tried in: `python -m darkit_nb.edit.trial_process`, trials in, one line of JSON each out.

It imports what trials need once and forks for each, so that an edit that crashes, hangs, or changes the process harms
neither its caller nor the next trial. Where forking is not safe, a fresh process is started instead.

Standard input holds, for each trial, one line of JSON with `size`, `folder`, `modules`, `path`, `time_limit_s` and
`memory_limit_bytes`, then `size` bytes of `packing.pack`. It comes from the process that started this one, and from
nowhere else. It is no sandbox: an edit can do what its author can.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from darkit_nb.edit.trial_watch import supervise

LINE_FILE = "line"
_LINE = struct.Struct("<q")
_TICK_S = 0.2
_PR_SET_PDEATHSIG = 1
_FORKS = sys.platform == "linux"
"""On macOS, system libraries may not be used in a fork of a process that has loaded them."""


def serve(source: IO[bytes], answers: IO[bytes], *, forks: bool) -> None:
    """Answer trials until the input ends."""
    if forks:
        import_module("darkit_nb.edit.trial_checks")
    answers.write(b'{"ready": true}\n')
    answers.flush()
    while line := source.readline():
        request = json.loads(line)
        data = source.read(request["size"])
        request["parent"] = os.getpid()
        child = _Forked(request, data) if forks else _Fresh(request, data)
        answers.write(json.dumps(supervise(child, request["time_limit_s"])).encode() + b"\n")
        answers.flush()


def try_edit(request: dict[str, Any], data: bytes, told: Callable[[dict[str, Any]], None]) -> None:
    """One trial, in the process that may be lost."""
    _end_with(request["parent"])
    sys.path[:] = request["path"]
    from darkit_nb.edit.packing import unpack
    from darkit_nb.edit.trial_checks import Trial

    unpack(data)  # imports what the module needs, before the memory is counted
    limited = _limit_memory(request["memory_limit_bytes"])
    with (Path(request["folder"]) / LINE_FILE).open("r+b") as file, mmap.mmap(file.fileno(), _LINE.size) as shared:
        trial = Trial(data, request["folder"], told, lambda line: _LINE.pack_into(shared, 0, line))
        outcome = trial.run()
    if not limited:
        outcome.notes.append("memory was not limited: this system has no such limit")
    told({"outcome": outcome.to_dict()})


def last_line(folder: str | Path) -> int | None:
    """The line of the edit that was about to run when its process ended."""
    (line,) = _LINE.unpack((Path(folder) / LINE_FILE).read_bytes()[: _LINE.size])
    return line or None


def make_line_file(folder: str | Path) -> None:
    """The file `last_line` reads."""
    (Path(folder) / LINE_FILE).write_bytes(_LINE.pack(0))


# -- children ------------------------------------------------------------------------------------------------------


class _Forked:
    """A trial in a fork of this process."""

    def __init__(self, request: dict[str, Any], data: bytes) -> None:
        for name in request["modules"]:
            with suppress(Exception):  # the trial imports it too, and says why it cannot
                import_module(name)
        self.results, write = os.pipe()
        self.output, speak = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _run_and_leave(request, data, write, speak)
        os.close(write)
        os.close(speak)

    def poll(self) -> int | None:
        """Exit status, minus the signal; None while it runs."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None


class _Fresh:
    """A trial in a process of its own, which has to import everything."""

    def __init__(self, request: dict[str, Any], data: bytes) -> None:
        self.results, write = os.pipe()
        command = [sys.executable, "-m", "darkit_nb.edit.trial_process", "trial", str(write)]
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(write,),
            start_new_session=True,
        )
        os.close(write)
        self.pid = self._process.pid
        with suppress(BrokenPipeError):  # it ended at once, and its status says so
            pipe: Any = self._process.stdin
            with pipe:
                pipe.write(json.dumps(request).encode() + b"\n" + data)
        self.output = os.dup(self._process.stdout.fileno())  # type: ignore[union-attr]

    def poll(self) -> int | None:
        """Exit status, minus the signal; None while it runs."""
        return self._process.poll()


def _run_and_leave(request: dict[str, Any], data: bytes, write: int, speak: int) -> None:
    """The life of a forked trial. Never returns."""
    status = 1
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        for ours, standard in ((nothing, 0), (speak, 1), (speak, 2)):
            os.dup2(ours, standard)
        try_edit(request, data, lambda message: _say(write, message))
        status = 0
    except BaseException as error:  # noqa: BLE001 - nothing may come back into the process that serves
        with suppress(OSError):
            _say(write, {"failed": f"{type(error).__name__}: {error}"})
    finally:
        with suppress(Exception):
            sys.stdout.flush()
        os._exit(status)


def _say(pipe: int, message: dict[str, Any]) -> None:
    rest = json.dumps(message).encode() + b"\n"
    while rest:
        rest = rest[os.write(pipe, rest) :]


def _end_with(parent: int) -> None:
    """Have this process end when the one that watches over it does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_TICK_S)
    os._exit(1)


def _limit_memory(extra: int) -> bool:
    """Let this process have so many bytes more than it has now; whether the system can do that."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + extra
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except (OSError, ValueError):
        return False
    return True


def main() -> None:
    """Serve, without forks if told `fresh`; or run the one trial that a serving process asks for."""
    if sys.argv[1:2] == ["trial"]:
        pipe = int(sys.argv[2])
        request = json.loads(sys.stdin.buffer.readline())
        data = sys.stdin.buffer.read(request["size"])
        try_edit(request, data, lambda message: _say(pipe, message))
        return
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print on import is no answer
    serve(sys.stdin.buffer, answers, forks=_FORKS and sys.argv[1:] != ["fresh"])


if __name__ == "__main__":
    main()
