"""Processes that work on one thing together: what one makes all get, and what goes wrong in one ends all.

`accelerate launch` and torchrun start them. Every exchange begins with a meeting, where each says whether something
went wrong with it: so nobody waits for one that gave up, and all raise what the first of them failed of. A process that
is killed breaks its connections, which ends the exchange of the others.
"""

from __future__ import annotations

import atexit
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from darkit_nb import errors
from darkit_nb.config.launched import launched_here, launched_processes, launched_rank, local_rank
from darkit_nb.errors import BackendError, DarkitError, RunError, problem_of

_PATIENCE_SECONDS = 60.0
"""How long a process that gave up waits for the others to hear of it."""
_WAIT = timedelta(days=1)
"""For an exchange: a process may have to read hundreds of gigabytes first, and one that dies is noticed at once."""
_SAID_BYTES = 4096
"""What each can say in a meeting."""
_HEARD = "_heard_by_all"

_Made = TypeVar("_Made")

_joined = 0
"""How often this process has joined a group of its own; each has a corner of the store to itself."""


def distributed() -> bool:
    """Whether torch.distributed runs with more than one process."""
    return (
        torch.distributed.is_available()
        and torch.distributed.is_initialized()
        and torch.distributed.get_world_size() > 1
    )


def rank() -> int:
    """Which process this is, from 0."""
    return torch.distributed.get_rank() if distributed() else 0


def world() -> int:
    """How many there are."""
    return torch.distributed.get_world_size() if distributed() else 1


def is_main() -> bool:
    """Whether this is the one that writes and speaks."""
    return rank() == 0


# -- coming and going ----------------------------------------------------------------------------------------------


@contextmanager
def together() -> Iterator[None]:
    """In this block the processes that were launched together form a group, and an error of one is raised in all.

    A group that is there already is used. Nothing happens where one process was launched alone.
    """
    _join()
    try:
        yield
    except BaseException as error:
        _tell(error)
        raise


def _join() -> None:
    global _joined
    if launched_processes() == 1 or torch.distributed.is_initialized():
        return
    _joined += 1
    store, number, count = next(rendezvous("env://", launched_rank(), launched_processes(), timeout=_WAIT))
    torch.distributed.init_process_group(
        # Meetings and what lies in main memory go by gloo, which notices at once when a process is gone.
        "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
        store=PrefixStore(f"darkit/{_joined}", store),
        rank=number,
        world_size=count,
        timeout=_WAIT,
    )
    leave_at_exit()


def leave() -> None:
    """Meet once more and part: from now on each works for itself."""
    if distributed():
        meet()
        torch.distributed.destroy_process_group()


def leave_at_exit() -> None:
    """End the process group, and the threads it waits in, before the interpreter is taken down.

    A thread of it that asks for the interpreter's lock after that aborts the process, and what is finished would count
    as failed. Not with an exchange half done: leaving would wait for the others.
    """
    if torch.distributed.is_initialized():
        atexit.unregister(_leave)
        atexit.register(_leave)


def stay_at_exit() -> None:
    """Take `leave_at_exit` back."""
    atexit.unregister(_leave)


def _leave() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def own_device(device: str) -> str:
    """The device of this process: of several each has a GPU of its own, which also becomes what `cuda` means.

    Args:
        device: `cpu` or `cuda`.

    Raises:
        BackendError: fewer GPUs here than processes.
    """
    if device != "cuda" or launched_processes() == 1:
        return device
    there = torch.cuda.device_count()
    if launched_here() > there:
        raise BackendError(
            "There are more processes than GPUs on this machine.",
            expected=f"at most {there}",
            received=f"{launched_here()} processes",
            fix=f"launch {there} on each machine (--nproc_per_node, or --num_processes), or convert with --device cpu",
        )
    torch.cuda.set_device(local_rank())
    return f"cuda:{local_rank()}"


# -- exchanges -----------------------------------------------------------------------------------------------------


def meet() -> None:
    """Go on when every process is here.

    Raises:
        DarkitError: what one of the others failed of, or that one is gone.
        KeyboardInterrupt: one was interrupted.
    """
    _meeting(lambda: None)


def reduce_sum(*tensors: Tensor) -> None:
    """Sum each across processes, in place."""
    _meeting(lambda: [_all_reduce(tensor, torch.distributed.ReduceOp.SUM) for tensor in tensors])


def reduce_max(*tensors: Tensor) -> None:
    """Largest values across processes, in place."""
    _meeting(lambda: [_all_reduce(tensor, torch.distributed.ReduceOp.MAX) for tensor in tensors])


def from_first(make: Callable[[], _Made]) -> _Made:
    """What `make` gives in the first process, in all of them; the others do not call it."""
    given: list[Any] = [make() if is_main() else None]
    if distributed():
        _meeting(lambda: torch.distributed.broadcast_object_list(given, src=0, device=_device()))
    return cast(_Made, given[0])


def any_of(mine: bool) -> bool:
    """Whether it holds in any process."""
    found = torch.tensor(float(mine))
    reduce_max(found)
    return bool(found)


def same_everywhere(mine: bytes) -> bool:
    """Whether all processes hold the same bytes, at most a few thousand."""
    if not distributed():
        return True
    found: list[bytes] = []
    _meeting(lambda: found.extend(_all_said(mine)))
    return len(set(found)) == 1


def _all_reduce(tensor: Tensor, op: Any) -> None:
    backends = torch.distributed.get_backend_config()
    if tensor.device.type in backends:
        torch.distributed.all_reduce(tensor, op=op)
    else:  # a group that was made for GPUs alone
        carried = tensor.to(_device())
        torch.distributed.all_reduce(carried, op=op)
        tensor.copy_(carried)


def _device() -> torch.device:
    """Where what is said has to lie."""
    return torch.device("cpu" if "cpu" in torch.distributed.get_backend_config() else "cuda")


def _meeting(exchange: Callable[[], object]) -> None:
    """Hear whether all are well, then exchange. No signal comes between: half an exchange leaves others waiting."""
    if not distributed():
        return
    with _undisturbed():
        try:
            said = _all_said(b"")
            if not any(said):
                exchange()
        except RuntimeError as error:
            raise _gone(error) from error
    for number, text in enumerate(said):
        if text:
            raise _heard(number, text)


def _all_said(mine: bytes, patience: float | None = None) -> list[bytes]:
    """What every process says; nothing of anybody where `patience` seconds were not enough."""
    own = torch.zeros(_SAID_BYTES, dtype=torch.uint8)
    own[: len(mine)] = torch.frombuffer(bytearray(mine), dtype=torch.uint8) if mine else 0
    own = own.to(_device())
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


def _tell(error: BaseException) -> None:
    """Come to the next meeting of the others with what went wrong here, unless all know."""
    if not distributed() or getattr(error, _HEARD, False):
        return
    with _undisturbed(repeat=False):
        try:
            _all_said(_in_words(error), _PATIENCE_SECONDS)
        except RuntimeError:
            stay_at_exit()  # they are gone
    setattr(error, _HEARD, True)


def known_to_all(error: BaseException) -> bool:
    """Whether it was raised, or heard of, in all processes."""
    return getattr(error, _HEARD, False)


def _in_words(error: BaseException) -> bytes:
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


def _heard(number: int, words: bytes) -> BaseException:
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
    setattr(found, _HEARD, True)
    return found


def _gone(error: RuntimeError) -> RunError:
    """The error of an exchange that broke off."""
    stay_at_exit()
    lines = str(error).strip().splitlines()
    found = RunError(
        "Another process of this work is gone.",
        expected=f"{world()} processes to the end",
        received=lines[0][:300] if lines else type(error).__name__,
        cause="it was killed, perhaps because memory ran out, or its machine went down",
        fix="the same command again goes on where this one was",
    )
    setattr(found, _HEARD, True)
    return found


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
