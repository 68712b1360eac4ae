"""Whether anybody looks. A page that was closed cannot say so: it only falls silent.

Jupyter's server keeps what a kernel sends until the page comes back, without limit. Charts renewed once
a second would pile up for as long as a laptop is closed; so pages give a sign of life, and without one nothing is sent.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from typing import Protocol

PATIENCE_SECONDS = 90.0
"""Pages beat every 20 seconds, those in the background every 60: browsers slow them down."""


class Member(Protocol):
    """What wants to know when somebody looks again."""

    def returned(self) -> None:
        """Send what was held back."""


class Attendance:
    """The signs of life of all pages of one kernel.

    Args:
        patience_s: after so many seconds of silence nobody looks. Before the first sign, everybody may.
        clock: seconds that only grow.
    """

    def __init__(self, patience_s: float = PATIENCE_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience_s, self._clock = patience_s, clock
        self._last: float | None = None
        self._members: weakref.WeakSet[Member] = weakref.WeakSet()

    def join(self, member: Member) -> None:
        """Tell it when somebody looks again, as long as it lives."""
        self._members.add(member)

    @property
    def away(self) -> bool:
        """Whether all pages have fallen silent."""
        return self._last is not None and self._clock() - self._last > self._patience_s

    def beat(self) -> None:
        """A page gave a sign of life."""
        came_back, self._last = self.away, self._clock()
        if came_back:
            for member in list(self._members):
                member.returned()


attendance = Attendance()
