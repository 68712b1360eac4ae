"""Whether tensors are what they were: for what is made from them once and kept."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

State = list[tuple[Tensor, int, int]]
"""Of tensors: which, where in memory, and how often written to."""


def state_of(parts: Sequence[Tensor], *, constant: bool = False) -> State | None:
    """The state of tensors now. `.to()` moves a parameter's memory, writing counts up, loading may bring others.

    None where one was made under inference mode and does not tell when it is written to, unless nobody writes to them.
    """
    try:
        return [(part, part.data_ptr(), part._version) for part in parts]
    except RuntimeError:
        return [(part, part.data_ptr(), 0) for part in parts] if constant else None


def same_state(old: State, new: State) -> bool:
    """Whether nothing was written, moved or replaced in between."""
    return len(old) == len(new) and all(a[0] is b[0] and a[1:] == b[1:] for a, b in zip(old, new, strict=True))
