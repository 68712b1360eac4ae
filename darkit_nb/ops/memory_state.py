"""Whether tensors are what they were: for what is made from them once and kept."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter, is_

from torch import Tensor

State = tuple[list[Tensor], list[int]]
"""Of tensors: which, then where in memory each lies and how often it was written to."""
# Every layer asks at every token: no loop of Python's in this file.
_version = attrgetter("_version")


def state_of(parts: Sequence[Tensor], *, constant: bool = False) -> State | None:
    """The state of tensors now. `.to()` moves a parameter's memory, writing counts up, loading may bring others.

    None where one was made under inference mode and does not tell when it is written to, unless nobody writes to them.
    """
    held = list(parts)
    places = list(map(Tensor.data_ptr, held))
    try:
        return held, [*places, *map(_version, held)]
    except RuntimeError:
        return (held, places) if constant else None


def same_state(old: State, new: State) -> bool:
    """Whether nothing was written, moved or replaced in between."""
    return old[1] == new[1] and len(old[0]) == len(new[0]) and all(map(is_, old[0], new[0]))
