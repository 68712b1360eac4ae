"""A run as `LiveCharts` watches it, and the settings by which runs are told apart."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from darkit_nb.config import RunConfig
from darkit_nb.config.files import changed_keys
from darkit_nb.config.yaml_text import inline
from darkit_nb.errors import DarkitError
from darkit_nb.runs import RunMonitor
from darkit_nb.runs.history import RunHistory
from darkit_nb.runs.metrics import Record
from darkit_nb.runs.run import Run
from darkit_nb.runs.watched import RunChange
from darkit_nb.views.charts import ChartRun
from darkit_nb.views.edit_marks import EditMark, edit_marks

NOT_TOLD = ("name", "runs_dir")
LONG_SETTINGS = 4
"""More settings than this are counted, not listed."""
_CHECKPOINTS_SECONDS = 2.0
_EDIT_EVENTS = ("patch", "revert", "patches")


class ChartSource:
    """One watched run.

    Args:
        run: which one.
        told: called on the monitor's thread whenever it has something new.
    """

    def __init__(self, run: Run, told: Callable[[], None]) -> None:
        self.run, self._told = run, told
        self.history = RunHistory()
        self.state = ""
        self.missing = False
        self.settings: dict[str, str] = {}
        self._checkpoints: tuple[int, ...] = ()
        self._edit_events: list[Record] = []
        self._edits: tuple[EditMark, ...] = ()
        self._looked = 0.0
        try:
            self.config: RunConfig | None = run.config
        except DarkitError:
            self.config = None
        self.unwatch = RunMonitor.shared().watch(run.directory, self._changed)

    def _changed(self, change: RunChange) -> None:
        self.history, self.missing = change.history, change.missing
        self.state = "missing" if change.missing else change.status.state
        told = [event for event in change.events if event.get("kind") in _EDIT_EVENTS]
        if told or change.reset:
            self._edit_events = [*([] if change.reset else self._edit_events), *told]
            self._edits = edit_marks(self._edit_events)
        now = time.monotonic()
        if change.events or now - self._looked > _CHECKPOINTS_SECONDS:
            self._looked = now
            self._checkpoints = () if change.missing else tuple(each.step for each in self.run.checkpoints())
        self._told()

    def chart_run(self) -> ChartRun:
        """The run as it is now."""
        return ChartRun(self.run.id, self.run.name, self.history, self.settings, self._checkpoints, self._edits)


def differences(configs: Sequence[RunConfig | None]) -> list[dict[str, str]]:
    """Of every configuration, the settings in which they are not all alike, as short text by dotted key."""
    known = [config.to_dict() if config is not None else {} for config in configs]
    keys = dict.fromkeys(key for config in configs if config is not None for key in changed_keys(config))
    told: list[dict[str, str]] = [{} for _ in configs]
    for key in keys:
        values = [_shown(_value(plain, key)) for plain in known]
        if key not in NOT_TOLD and len(set(values)) > 1:
            for own, value in zip(told, values, strict=True):
                own[key] = value
    if max(map(len, told), default=0) > LONG_SETTINGS:
        return [_first(own) for own in told]
    return told


def _first(own: dict[str, str]) -> dict[str, str]:
    kept = dict(list(own.items())[: LONG_SETTINGS - 1])
    return kept | {"and": f"{len(own) - len(kept)} more"}


def _value(plain: Mapping[str, Any], key: str) -> Any:
    value: Any = plain
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _shown(value: Any) -> str:
    return "–" if value is None else inline(value)
