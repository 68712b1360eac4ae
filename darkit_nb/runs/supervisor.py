"""`python -m darkit_nb.runs.supervisor FOLDER ATTEMPT [key=value …]`: starts a run's trainer, and says how it ended.

A conversion is supervised the same way; its folder says that it is one.

It lives in a session of its own, so that nothing that happens to a notebook reaches it, and writes `supervisor.json`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from darkit_nb.errors import DarkitError, problem_of
from darkit_nb.runs import identity, lock
from darkit_nb.runs.directory import RunDirectory
from darkit_nb.runs.launch_record import LaunchRecord, read_launch
from darkit_nb.runs.launcher import START_LOCK, launch_record
from darkit_nb.runs.log import LogReader
from darkit_nb.runs.processes import detached
from darkit_nb.runs.queue import advance_queue
from darkit_nb.runs.status import ENDED, read_status
from darkit_nb.runs.workers import worker_of

HEARTBEAT_SECONDS = 5.0
_LOG_LINES = 12


class Supervisor:
    """Watches one trainer from its start to its end.

    Args:
        run: The run.
        attempt: Number of the start that its trainer is to begin.
        overrides: `key=value` settings for the trainer.
    """

    def __init__(self, run: RunDirectory, attempt: int, overrides: Sequence[str]) -> None:
        self.run, self.overrides = run, overrides
        self.worker = worker_of(run.root)
        self.record = launch_record(os.getpid(), attempt)
        self._log_start = 0

    def watch(self) -> int:
        """Start the trainer, wait for it and record its end; returns its exit code."""
        with suppress(FileNotFoundError):
            self._log_start = self.run.log_path.stat().st_size
        self._write()  # waits until whoever started us has written what we are
        arguments = [str(self.run.root), *self.overrides]
        trainer = detached(self.worker.module, arguments, log=self.run.log_path, cwd=Path.cwd())
        self._pass_signals_on(trainer)
        self._write(trainer={"pid": trainer.pid, "process_started": identity.process_started(trainer.pid)})
        while (code := _wait(trainer)) is None:
            with suppress(DarkitError):  # a full disk, or a folder that was removed: the trainer meets it too
                self._write()
        with suppress(DarkitError):
            self._write(ended=time.time(), exit=_exit(code), problem=self._problem(code))
        with suppress(DarkitError):
            advance_queue(self.run.root.parent)
        return code

    def _write(self, **fields: Any) -> None:
        """Renew our record, unless a later start of the run has put its own in the place."""
        with lock.exclusive(self.run.root / START_LOCK, f"The start of the run {self.run.id}", wait_seconds=30.0):
            self.record = replace(self.record, heartbeat=time.time(), **fields)
            found = read_launch(self.run.root)
            if found is None or found.attempt < self.record.attempt or self._is_us(found):
                self.record.write(self.run.root)

    def _is_us(self, found: LaunchRecord) -> bool:
        return found.pid == self.record.pid and found.host == self.record.host

    def _pass_signals_on(self, trainer: subprocess.Popen[Any]) -> None:
        """Asked to end, ask the trainer to end in order, and stay to see it."""

        def forward(number: int, frame: object) -> None:
            with suppress(OSError):
                trainer.send_signal(signal.SIGTERM)

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, forward)
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _problem(self, code: int) -> dict[str, Any] | None:
        """Why the trainer ended, if it did not say so itself."""
        status = read_status(self.run.root)
        if status.attempt >= self.record.attempt and status.recorded in ENDED:
            return None
        lines = LogReader(self.run.log_path, start=self._log_start).tail(_LOG_LINES).splitlines()
        said = next((line.strip() for line in reversed(lines) if line.strip()), None)
        how = f"was ended by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
        cause, fix = "the last lines of the log say more", "mend what the log names, then resume it"
        if code == -signal.SIGKILL:
            cause = "the system ended it because memory ran out, or somebody killed it"
            fix = f"resume it; if it happens again, {self.worker.smaller}"
        return {
            "message": f"The {self.worker.noun} process {how}.",
            "expected": f"a {self.worker.noun} that ends by itself, or is stopped",
            "received": said,
            "cause": cause,
            "fix": fix,
            "log": lines,
        }


def _wait(process: subprocess.Popen[Any]) -> int | None:
    try:
        return process.wait(HEARTBEAT_SECONDS)
    except subprocess.TimeoutExpired:
        return None


def _exit(code: int) -> dict[str, Any]:
    return {"code": code, "signal": _signal_name(-code) if code < 0 else None}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def main(arguments: Sequence[str]) -> int:
    """Entry point; returns the trainer's exit code."""
    folder, attempt, *overrides = arguments
    supervisor = Supervisor(RunDirectory(folder), int(attempt), overrides)
    try:
        return supervisor.watch()
    except DarkitError as error:
        print(f"supervisor: {error}", file=sys.stderr, flush=True)
        with suppress(DarkitError):
            supervisor.record = replace(supervisor.record, ended=time.time(), problem=problem_of(error))
            supervisor.record.write(supervisor.run.root)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
