"""Who is told how a conversion goes, from its plan to its scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from darkit_nb.records.conversion import BlockReport, ConversionPlan
from darkit_nb.records.conversion_result import ConversionRow


class Listener(Protocol):
    """Who is told how a conversion goes."""

    def stage(self, text: str) -> None:
        """What is being done now."""

    def plan(self, plan: ConversionPlan) -> None:
        """What it will take, before any work."""

    def block(self, report: BlockReport) -> None:
        """A block is done, or taken over."""

    def scoring(self, done: int, windows: int) -> None:
        """Windows of the held-out text that are scored."""

    def row(self, row: ConversionRow) -> None:
        """A model is scored."""


class Unheard:
    """A listener that passes everything over: that of a process which another one speaks for."""

    def stage(self, text: str) -> None:
        """Nothing."""

    def plan(self, plan: ConversionPlan) -> None:
        """Nothing."""

    def block(self, report: BlockReport) -> None:
        """Nothing."""

    def scoring(self, done: int, windows: int) -> None:
        """Nothing."""

    def row(self, row: ConversionRow) -> None:
        """Nothing."""


def events_to(listener: Listener) -> Callable[[dict[str, Any]], None]:
    """What `convert_model` tells its `on_event`, told to a listener."""

    def tell(event: dict[str, Any]) -> None:
        kind = event.get("kind")
        if kind == "block":
            listener.block(BlockReport.from_dict(event["report"]))
        elif kind in ("statistics", "saved", "stage"):
            listener.stage(str(event.get("text") or kind))

    return tell
