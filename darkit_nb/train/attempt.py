"""One start of a run, from the moment a process takes it on to the moment its end is written."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from darkit_nb.errors import DarkitError, RunError, problem_of
from darkit_nb.runs import RunDirectory
from darkit_nb.train.control import Control

HEARTBEAT_SECONDS = 5.0


class Attempt:
    """What the processes of a training know about this start of the run.

    Args:
        run: the run; None while it does not exist yet.
        active: whether this process writes; only rank 0 of a distributed run does.

    Attributes:
        control: what was asked of it.
        state: `starting` while data and model are prepared, then `running`.
        step, total_steps: progress; None before it is known.
        message: what is being prepared.
    """

    def __init__(self, run: RunDirectory, *, active: bool = True) -> None:
        self.run, self.active = run, active
        self.control = Control(run if active else None)
        self.state = "starting"
        self.step: int | None = None
        self.total_steps: int | None = None
        self.message: str | None = None

    def say(self) -> None:
        """Write state and progress into the status."""
        if self.active:
            self.run.write_status(state=self.state, step=self.step, total_steps=self.total_steps, message=self.message)

    def preparing(self, stage: str, fraction: float = 0.0) -> None:
        """Say what is being prepared, once per stage."""
        if stage != self.message:
            self.message = stage
            self.say()

    def running(self, step: int, total_steps: int) -> None:
        """Say that the training itself has begun."""
        self.state, self.message = "running", None
        self.step, self.total_steps = step, total_steps
        self.say()

    def end(self, error: BaseException | None = None) -> None:
        """Write how it ended: finished, stopped on request, or failed."""
        how, message, problem = "finished", self.control.stop_requested, None
        if self.control.stop_requested or isinstance(error, KeyboardInterrupt):
            how = "stopped"
            message = message or str(error) or "interrupted"
        if error is not None and not isinstance(error, KeyboardInterrupt):
            how, problem = "failed", problem_of(error)
            message = f"{type(error).__name__}: {error}"
        try:
            self.control.refuse_edits(self.step, _ended(how))
            if how == "stopped":
                self.control.acknowledge_stops(self.step)
            self.run.append_event(how, step=self.step, message=message)
            self.run.write_status(
                state=how, step=self.step, total_steps=self.total_steps, message=message, problem=problem
            )
        except DarkitError as second:
            # The first error is the one that explains; a full disk must not hide it behind its own echo.
            print(f"The end of the run could not be recorded: {second.message}", file=sys.stderr)


def _ended(how: str) -> RunError:
    return RunError(
        "The training ended before the edit could take effect.",
        expected="a training that goes on",
        received=how,
        fix="resume the run, then send it again",
    )


@contextmanager
def begin(run: RunDirectory, *, active: bool = True, number: int | None = None) -> Iterator[Attempt]:
    """Take a run on: lock it, count the attempt, beat, listen to commands; at the end of the block write how it ended.

    Args:
        run: the run.
        active: whether this process writes; the others of a distributed run pass through.
        number: of the attempt, where a supervisor has reserved one.

    Raises:
        RunError: another process is at work on it.
    """
    attempt = Attempt(run, active=active)
    if not active:
        yield attempt
        return
    with run.lock():
        run.begin_attempt(state="starting", number=number)
        try:
            with _heartbeat(attempt), attempt.control.listening(give_up=attempt.end):
                yield attempt
        except BaseException as error:
            attempt.end(error)
            raise
        attempt.end()


@contextmanager
def _heartbeat(attempt: Attempt) -> Iterator[None]:
    """Refresh the status from a thread, so that readers can tell a dead trainer from a busy one."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(HEARTBEAT_SECONDS):
            # A full disk is met, and explained, by the training itself; here it must not end the thread.
            with suppress(RunError):
                attempt.say()

    thread = threading.Thread(target=beat, name="darkit-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
