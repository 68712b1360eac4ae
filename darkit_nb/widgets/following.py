"""Follow a request until it is answered, without keeping anybody waiting."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from darkit_nb.runs.requests import Request

SECONDS_BETWEEN = 0.25

log = logging.getLogger(__name__)


class Following:
    """Calls back while a request is being answered, a last time when it is done or has failed.

    Args:
        request: what was asked of a run.
        told: receives the request, a moment later for the first time, on a thread of this object's; short work only.
    """

    def __init__(self, request: Request, told: Callable[[Request], None]) -> None:
        self._request, self._told = request, told
        self._ended = threading.Event()
        threading.Thread(target=self._follow, name="darkit-following", daemon=True).start()

    def stop(self) -> None:
        """Hear nothing more; the request goes on."""
        self._ended.set()

    def _follow(self) -> None:
        over = False
        while not over and not self._ended.wait(SECONDS_BETWEEN):
            over = self._request.state in ("done", "failed")
            try:
                self._told(self._request)
            except Exception:
                log.exception("following %s failed", self._request.id)
                return
