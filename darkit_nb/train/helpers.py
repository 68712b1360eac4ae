"""Processes that help the first of several, which speaks for all: how they end."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from darkit_nb.errors import DarkitError

_KNOWN = "_known_to_all"


def known_to_all(error: BaseException) -> bool:
    """Whether it was raised, or heard of, in all processes."""
    return getattr(error, _KNOWN, False)


def mark_known(error: BaseException) -> None:
    """Remember that all processes raise it, or have heard of it."""
    setattr(error, _KNOWN, True)


def help_quietly(work: Callable[[], object]) -> int:
    """Do the part of a process that is not the first; returns the exit code.

    It is 0 where the first knows how it ended: a launcher ends all processes when one of them fails, and the first may
    be writing just then. Of what nobody foresaw the place is told here, its name by the first.

    Args:
        work: what to do; an error that the first does not know of is raised.
    """
    try:
        work()
    except BaseException as error:
        if not known_to_all(error):
            raise
        if not isinstance(error, DarkitError | KeyboardInterrupt):
            traceback.print_exc()
    return 0
