"""Processes that work on one thing together: what one makes all get, and what goes wrong in one ends all.

Every exchange begins with a meeting (`darkit_nb.train.meeting`), where each says whether something went wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from darkit_nb.train.group import distributed, is_main, join
from darkit_nb.train.meeting import all_said, device_of_words, meeting, tell

_Made = TypeVar("_Made")


@contextmanager
def together() -> Iterator[None]:
    """In this block the processes that were launched together form a group, and an error of one is raised in all.

    A group that is there already is used. Nothing happens where one process was launched alone.
    """
    join()
    try:
        yield
    except BaseException as error:
        tell(error)
        raise


def leave() -> None:
    """Meet once more and part: from now on each works for itself."""
    if distributed():
        meet()
        torch.distributed.destroy_process_group()


def meet() -> None:
    """Go on when every process is here.

    Raises:
        DarkitError: what one of the others failed of, or that one is gone.
        KeyboardInterrupt: one was interrupted.
    """
    meeting(lambda: None)


def reduce_sum(*tensors: Tensor) -> None:
    """Sum each across processes, in place."""
    meeting(lambda: [_all_reduce(tensor, torch.distributed.ReduceOp.SUM) for tensor in tensors])


def reduce_max(*tensors: Tensor) -> None:
    """Largest values across processes, in place."""
    meeting(lambda: [_all_reduce(tensor, torch.distributed.ReduceOp.MAX) for tensor in tensors])


def from_first(make: Callable[[], _Made]) -> _Made:
    """What `make` gives in the first process, in all of them; the others do not call it."""
    given: list[Any] = [make() if is_main() else None]
    if distributed():
        meeting(lambda: torch.distributed.broadcast_object_list(given, src=0, device=device_of_words()))
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
    meeting(lambda: found.extend(all_said(mine)))
    return len(set(found)) == 1


def _all_reduce(tensor: Tensor, op: Any) -> None:
    backends = torch.distributed.get_backend_config()
    if tensor.device.type in backends:
        torch.distributed.all_reduce(tensor, op=op)
    else:  # a group that was made for GPUs alone
        carried = tensor.to(device_of_words())
        torch.distributed.all_reduce(carried, op=op)
        tensor.copy_(carried)
