"""The trainer's ear: a thread that reads commands while the main thread trains."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from darkit_nb.errors import DarkitError
from darkit_nb.runs import RunDirectory
from darkit_nb.runs.control import REQUESTS, Command, CommandReader, acknowledge

POLL_SECONDS = 0.1
_PATIENCE_SECONDS = 1.5


class Control:
    """What a training has been asked for.

    Args:
        run: whose commands are read; None for a process that only follows, as all but one of a distributed run.

    Attributes:
        stop_requested: why training is to end; None as long as it is not.
        in_order: whether it ends with an evaluation, as at a time limit; who pressed Stop does not wait for one.
        checkpoints: commands to write a checkpoint at the next step boundary.
        edits: patches to apply and wishes to take some back, for a step boundary.
        requests: probes and generations to answer at a step boundary.
        patience_seconds: how long a preparation that is to end may take to notice, before the process ends without it.
    """

    def __init__(self, run: RunDirectory | None) -> None:
        self.stop_requested: str | None = None
        self.in_order = False
        self.checkpoints: deque[Command] = deque()
        self.edits: deque[Command] = deque()
        self.requests: deque[Command] = deque()
        self.interrupted: set[str] = set()
        self.patience_seconds = _PATIENCE_SECONDS
        self._run = run
        self._stops: list[Command] = []
        self._preparing = False

    def stop(self, reason: str, *, in_order: bool = False) -> None:
        """Ask the training to end at the next step boundary; the first reason counts."""
        if self.stop_requested is None:
            self.stop_requested, self.in_order = reason, in_order

    @contextmanager
    def listening(self, give_up: Callable[[], None]) -> Iterator[None]:
        """Read commands for the length of a block.

        Args:
            give_up: called before the process is ended because its preparation did not let itself be interrupted.
        """
        if self._run is None:
            yield
            return
        done = threading.Event()
        reader = CommandReader(self._run, attempt=self._run.attempt)
        self.interrupted = {str(identity) for identity in reader.interrupted}

        def listen() -> None:
            while not done.wait(POLL_SECONDS):
                for command in reader.read():
                    self._take(command)
                if self._stops and self._preparing:
                    self._interrupt(done, give_up)

        thread = threading.Thread(target=listen, name="darkit-control", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """In this block there is no step boundary to wait for: a stop interrupts it."""
        self._preparing = True
        try:
            yield
        finally:
            self._preparing = False

    def acknowledge_stops(self, step: int | None) -> None:
        """Say that the stops asked for have taken effect."""
        run = self._run
        while run is not None and self._stops:
            acknowledge(run, self._stops.pop(), step=step)

    def refuse_edits(self, step: int | None, error: BaseException) -> None:
        """Tell everybody who waits for an edit why it is not done."""
        run = self._run
        while run is not None and self.edits:
            command = self.edits.popleft()
            number = str(command.arguments.get("file", "")).partition("-")[0]
            named = {"number": int(number)} if number.isdecimal() else {}
            acknowledge(run, command, step=step, error=error, **named)

    def _take(self, command: Command) -> None:
        if command.command == "stop":
            self._stops.append(command)
            self.stop("stopped on request")
        elif command.command == "checkpoint":
            self.checkpoints.append(command)
        elif command.command in ("patch", "revert"):
            self.edits.append(command)
        elif command.command in REQUESTS:
            self.requests.append(command)

    def _interrupt(self, done: threading.Event, give_up: Callable[[], None]) -> None:
        main = threading.main_thread().ident
        if hasattr(signal, "pthread_kill") and main is not None:
            signal.pthread_kill(main, signal.SIGINT)  # to that thread, so that a waiting system call ends too
        else:
            signal.raise_signal(signal.SIGINT)
        if done.wait(self.patience_seconds) or not self._preparing:
            return
        with suppress(DarkitError):
            give_up()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


@contextmanager
def stop_on_signals(control: Control) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM asks for a checkpoint and an orderly end; the second one interrupts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, object] = {}

    def ask(number: int, frame: object) -> None:
        control.stop(f"asked to stop by {signal.Signals(number).name}")
        for which in before:
            signal.signal(which, _interrupt_now)

    for which in (signal.SIGINT, signal.SIGTERM):
        before[which] = signal.signal(which, ask)
    try:
        yield
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)  # pyright: ignore[reportArgumentType] - what signal() itself returned


def _interrupt_now(number: int, frame: object) -> None:
    raise KeyboardInterrupt(f"interrupted by {signal.Signals(number).name}")


@contextmanager
def interruptible() -> Iterator[None]:
    """Make SIGINT and SIGTERM raise KeyboardInterrupt, whatever the process inherited."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {which: signal.signal(which, _interrupt_now) for which in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)
