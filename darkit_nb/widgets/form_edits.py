"""A form whose fields are edited in the page and checked in the kernel: taking edits in, in their order."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from darkit_nb.widgets.base import DarkitWidget


class EditedForm(DarkitWidget):
    """What the forms of trainings and conversions have in common.

    A subclass says what one edit changes and what is shown afterwards.

    Args:
        traits: of the widget.
    """

    def __init__(self, **traits: Any) -> None:
        self._lock = threading.RLock()
        self._seen: dict[str, int] = {}
        super().__init__(**traits)

    def do_write(self, edits: list[dict[str, Any]], client: str = "", edit: int = 0) -> None:
        """Take edits of fields: `text` as typed, or `on` for a box or a switch.

        Args:
            edits: each with the `key` of its field.
            client: the view that sends them.
            edit: their number there; the answer says up to which edits of a view it holds.
        """
        with self._lock:
            try:
                for each in edits:
                    self._take(each)
            finally:
                self._seen = {**self._seen, client: max(edit, self._seen.get(client, 0))}
                self._refresh()

    def _take(self, each: Mapping[str, Any]) -> None:
        """Change what one edit says."""
        raise NotImplementedError

    def _refresh(self) -> None:
        """Check everything and tell the page."""
        raise NotImplementedError
