"""The group of processes that work on one thing: who is in it, joining it, and parting in good order.

`accelerate launch` and torchrun start such processes; `darkit_nb.train.processes` says what they exchange.
"""

from __future__ import annotations

import atexit
from datetime import timedelta

import torch
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from darkit_nb.config.launched import launched_here, launched_processes, launched_rank, local_rank
from darkit_nb.errors import BackendError

_WAIT = timedelta(days=1)
"""For an exchange: a process may have to read hundreds of gigabytes first, and one that dies is noticed at once."""

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


def join() -> None:
    """Form a group with the processes that were launched beside this one; one that is there already is kept."""
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
