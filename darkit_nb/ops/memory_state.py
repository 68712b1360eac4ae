"""Whether tensors are what they were: for what is made from them once and kept."""

from __future__ import annotations

from collections.abc import Sequence
from operator import is_

from torch import Tensor

State = tuple[list[Tensor], list[int]]
"""Of tensors: which, then where in memory each lies and how often it was written to."""


def state_of(parts: Sequence[Tensor], *, constant: bool = False) -> State | None:
    """The state of tensors now. `.to()` moves a parameter's memory, writing counts up, loading may bring others.

    None where one was made under inference mode and does not tell when it is written to, unless nobody writes to them.
    """
    places = [part.data_ptr() for part in parts]
    try:
        return list(parts), places + [part._version for part in parts]
    except RuntimeError:
        return (list(parts), places) if constant else None


def same_state(old: State, new: State) -> bool:
    """Whether nothing was written, moved or replaced in between."""
    # Every layer asks at every token: no loop of Python's here.
    return old[1] == new[1] and len(old[0]) == len(new[0]) and all(map(is_, old[0], new[0]))
