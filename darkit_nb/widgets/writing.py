"""One generation of a model as a widget follows it: its tokens as they come, and how it stands."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from darkit_nb.runs.requests import Request
from darkit_nb.widgets.following import Following


class Writing:
    """What was asked of a model, and what has come of it; another request takes its place.

    Args:
        moved: called with this object whenever it was looked at, on a thread of its own; True when tokens were added,
            or it was looked at for the first time.

    Attributes:
        tokens: what was generated, a dict for each token.
        state: waiting, running, done or failed; "" before anything is asked.
        stopping: whether it was asked to end and has not ended yet.
        problem: why it failed, in the form of `DarkitError.to_dict`; None otherwise.
    """

    def __init__(self, moved: Callable[[Writing, bool], None]) -> None:
        self.tokens: list[dict[str, Any]] = []
        self.state = ""
        self.stopping = False
        self.problem: dict[str, Any] | None = None
        self._moved = moved
        self._looked = False
        self._lock = threading.Lock()
        self._request: Request | None = None
        self._following: Following | None = None

    @property
    def busy(self) -> bool:
        """Whether tokens may yet come."""
        return self.state in ("waiting", "running")

    def follow(self, request: Request) -> None:
        """Follow a request that was just made; the one before is given up."""
        self.forget()
        with self._lock:
            self.state, self._request = "waiting", request
        self._following = Following(request, self._look)

    def stop(self) -> None:
        """End it at its next token; what is there stays. Asked again, or of nothing, it does nothing."""
        if self._request is not None and self.busy and not self.stopping:
            self._request.cancel()
            self.stopping = True

    def forget(self) -> None:
        """Stop it, hear no more of it, and be empty."""
        if self._following is not None:
            self._following.stop()
        self.stop()
        with self._lock:
            self._following = self._request = self.problem = None
            self.tokens, self.state, self.stopping, self._looked = [], "", False, False

    def _look(self, request: Request) -> None:
        state = request.state  # first: what is done has written all its tokens
        tokens = request.tokens()
        with self._lock:
            if request is not self._request:
                return
            fresh = len(tokens) > len(self.tokens) or not self._looked
            self.tokens, self.state, self._looked = tokens, state, True
            self.problem = request.problem if state == "failed" else None
            self.stopping = self.stopping and self.busy
        self._moved(self, fresh)
