"""The conversions of one folder, and which pipelines a conversion may be compared with."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from darkit_nb.config.conversions import PRESETS, alternative
from darkit_nb.errors import ConfigError, DarkitError
from darkit_nb.records.conversion_progress import ConversionProgress
from darkit_nb.records.conversion_spec import ConversionSpec
from darkit_nb.runs.conversion import Conversion, list_conversions
from darkit_nb.runs.monitor import RunMonitor
from darkit_nb.runs.queue import advance_queue
from darkit_nb.runs.watched import RunChange

Told = Callable[[ConversionProgress, str | None], None]


class Others:
    """The conversions whose models lie in one folder, in the order in which they were begun.

    The one that is shown is followed, and so is every other that is at work or waits for its turn.

    Args:
        told: called on the monitor's thread with a conversion that has changed, and the state it had before.
    """

    def __init__(self, told: Told) -> None:
        self.found: dict[str, ConversionProgress] = {}
        self.conversions: dict[str, Conversion] = {}
        self._told = told
        self._watches: dict[str, Callable[[], None]] = {}
        self._shown = ""

    def look(self, shown: Conversion) -> None:
        """Read the folder of the conversion that is shown anew."""
        self._shown = shown.id
        self.conversions = {each.id: each for each in list_conversions(shown.root.parent)}
        self.found = {}
        for each in self.conversions.values():
            self.read(each)
        self._follow()

    def read(self, conversion: Conversion) -> ConversionProgress | None:
        """Read one of them anew; None where it cannot be read, and what was read of it stays."""
        with suppress(DarkitError):  # removed, or of a newer version
            self.found[conversion.id] = conversion.progress()
            return self.found[conversion.id]
        return None

    def close(self) -> None:
        """Follow none of them any more."""
        for end in self._watches.values():
            end()
        self._watches = {}

    def _follow(self) -> None:
        alive = {key for key, each in self.found.items() if each.active or each.state == "queued"}
        wanted = (alive | {self._shown}) & self.conversions.keys()
        for key in self._watches.keys() - wanted:
            self._watches.pop(key)()
        for key in wanted - self._watches.keys():
            self._watches[key] = RunMonitor.shared().watch(self.conversions[key].directory, self._changed)

    def _changed(self, change: RunChange) -> None:
        """Called by the monitor's thread, a few times a second at most."""
        conversion = self.conversions.get(change.run.root.name)
        if conversion is None or conversion.root.resolve() != change.run.root:
            return
        before = self.found.get(conversion.id)
        now = self.read(conversion)
        if now is None:
            return
        state = before.state if before else None
        if now.state != state:
            self._follow()
            self._advance(conversion.root.parent)
            for key in [key for key, each in self.found.items() if each.state == "queued"]:
                self.read(self.conversions[key])  # its place is another one now
        self._told(now, state)

    def _advance(self, folder: Path) -> None:
        """Start the next one; the process that should have done so may have been killed."""
        if any(each.state == "queued" for each in self.found.values()):
            with suppress(DarkitError):  # where this process may only look
                advance_queue(folder)


def comparable(spec: ConversionSpec, chosen: Collection[str] = ()) -> list[dict[str, Any]]:
    """The other pipelines, whether each is chosen, and why it cannot be; as plain data.

    Args:
        spec: what they would be compared with.
        chosen: names of pipelines.
    """
    found = []
    for name in PRESETS:
        if name == spec.pipeline:
            continue
        try:
            alternative(spec, name)
            why = ""
        except ConfigError as error:
            why = error.message
        found.append({"name": name, "on": name in chosen and not why, "why": why})
    return found


def compared(spec: ConversionSpec, there: Collection[str]) -> list[dict[str, Any]]:
    """The same, those being chosen that are there already.

    Args:
        spec: what they would be compared with.
        there: names of conversions, such as `rtn W4A4`.
    """
    names = {each["name"] for each in comparable(spec) if not each["why"]}
    return comparable(spec, {name for name in names if alternative(spec, name).name in there})
