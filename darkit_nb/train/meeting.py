"""Meetings of processes that work together: each says whether it is well, and what went wrong in one is raised in all.

So nobody waits for one that gave up. A process that is killed breaks its connections, which ends the meeting of the
others.
"""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch

from darkit_nb import errors
from darkit_nb.errors import DarkitError, RunError, problem_of
from darkit_nb.train.group import distributed, stay_at_exit, world
from darkit_nb.train.helpers import known_to_all, mark_known

_PATIENCE_SECONDS = 60.0
"""How long a process that gave up waits for the others to hear of it."""
_SAID_BYTES = 4096
"""What each can say in a meeting."""


def device_of_words() -> torch.device:
    """Where what is said has to lie."""
    return torch.device("cpu" if "cpu" in torch.distributed.get_backend_config() else "cuda")


def meeting(exchange: Callable[[], object]) -> None:
    """Hear whether all are well, then exchange. No signal comes between: half an exchange leaves others waiting."""
    if not distributed():
        return
    with _undisturbed():
        try:
            said = all_said(b"")
            if not any(said):
                exchange()
        except RuntimeError as error:
            stay_at_exit()
            found = gone(error, "the same command again goes on where this one was")
            mark_known(found)
            raise found from error
    for number, text in enumerate(said):
        if text:
            raise heard(number, text)


def all_said(mine: bytes, patience: float | None = None) -> list[bytes]:
    """What every process says; nothing of anybody where `patience` seconds were not enough."""
    own = torch.zeros(_SAID_BYTES, dtype=torch.uint8)
    own[: len(mine)] = torch.frombuffer(bytearray(mine), dtype=torch.uint8) if mine else 0
    own = own.to(device_of_words())
    said = [torch.zeros_like(own) for _ in range(world())]
    work = cast(Any, torch.distributed.all_gather(said, own, async_op=patience is not None))
    if patience is not None:
        end = time.monotonic() + patience
        while not work.is_completed():
            if time.monotonic() > end:
                return []
            time.sleep(0.01)
        work.wait()
    return [bytes(each.cpu().numpy().tobytes()).rstrip(b"\0") for each in said]


def tell(error: BaseException) -> None:
    """Come to the next meeting of the others with what went wrong here, unless all know."""
    if not distributed() or known_to_all(error):
        return
    with _undisturbed(repeat=False):
        try:
            all_said(in_words(error), _PATIENCE_SECONDS)
        except RuntimeError:
            stay_at_exit()  # they are gone
    mark_known(error)


def in_words(error: BaseException) -> bytes:
    """An error as others can be told of it."""
    kind = "KeyboardInterrupt" if isinstance(error, KeyboardInterrupt) else type(error).__name__
    problem = {name: text for name, text in problem_of(error).items() if text}
    foreseen = isinstance(error, DarkitError | KeyboardInterrupt)
    if isinstance(error, KeyboardInterrupt):
        problem = {"message": str(error) or "interrupted"}
    for length in (_SAID_BYTES, 600, 200, 60):
        short = {name: text[:length] for name, text in problem.items()}
        words = json.dumps({"kind": kind, "foreseen": foreseen, **short}).encode()
        if len(words) <= _SAID_BYTES:
            return words
    raise AssertionError("five texts of 60 characters fit")


def heard(number: int, words: bytes) -> BaseException:
    """The error that process `number` told of."""
    said = json.loads(words)
    kind, foreseen, message = said.pop("kind"), said.pop("foreseen"), said.pop("message")
    found: BaseException
    if kind == "KeyboardInterrupt":
        found = KeyboardInterrupt(message)
    elif foreseen:
        known = getattr(errors, kind, RunError)
        found = known(message, **said)
    else:
        found = RunError(f"Process {number} of {world()} failed: {message}", **said)
    mark_known(found)
    return found


class ProcessGone(RunError):  # noqa: N818 - what happened is its name
    """Another process broke an exchange off."""


def gone(error: BaseException, fix: str) -> ProcessGone:
    """What an exchange that broke off means.

    Args:
        error: of the exchange.
        fix: what to do.
    """
    told = re.sub(r"^\[\S+\] ", "", str(error).strip().partition(". This is typically")[0])  # no place in its source
    lines = told.splitlines()
    return ProcessGone(
        "Another process of this work is gone.",
        expected=f"{world()} processes to the end",
        received=lines[0][:300] if lines else type(error).__name__,
        cause="it was killed, perhaps because memory ran out, or its machine went down",
        fix=fix,
    )


@contextmanager
def _undisturbed(*, repeat: bool = True) -> Iterator[None]:
    """SIGINT and SIGTERM wait until the block is over; with `repeat=False` they are dropped."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before: dict[int, Any] = {}
    try:
        for which in (signal.SIGINT, signal.SIGTERM):
            before[which] = signal.getsignal(which)
            signal.signal(which, lambda number, _: came.append(number))
        yield
    finally:
        for which, handler in before.items():
            if handler is not None:
                signal.signal(which, handler)
        if repeat and came:
            signal.raise_signal(came[0])
