"""`DataPreview`: what the model will read, counted and shown by a worker process while the kernel stays free."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from typing import Any, Self

import traitlets

from darkit_nb.config import RunConfig
from darkit_nb.data.look import DataLook
from darkit_nb.data.look_job import LookJob
from darkit_nb.views.data_card import DataCard, Diet
from darkit_nb.widgets.base import DarkitWidget, script, style
from darkit_nb.widgets.config_form import ConfigForm

SETTLE_SECONDS = 0.4
"""Settings that are still being typed are not worth a process."""

_AT_HAND = {"dataset": ("stdlib", "text"), "tokenizer": ("bytes", "bpe")}
_KEPT = 16
_looks: OrderedDict[str, DataLook] = OrderedDict()


class DataPreview(DarkitWidget):
    """A look at the data of a configuration: split sizes, bytes per token, documents, one window as tokens.

    What is at hand is looked at by itself; what may have to be downloaded waits for the button, or for `look()`.

    Attributes:
        config: Whose data is shown; assign another one at any time.
        found: The last look, as a record.

    Args:
        config: What to start from; None shows nothing yet.
    """

    _esm = script("data_preview")
    _css = style("data_preview")

    config: RunConfig | None = traitlets.Instance(RunConfig, allow_none=True)  # type: ignore[assignment]
    stage = traitlets.Dict({"name": "idle"}).tag(sync=True)
    report = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)

    def __init__(self, config: RunConfig | None = None) -> None:
        self._lock = threading.RLock()
        self._job: LookJob | None = None
        self._timer: threading.Timer | None = None
        self._asked = ("", "")
        self.found: DataLook | None = None
        super().__init__()
        self.config = config

    def follow(self, form: ConfigForm) -> Self:
        """Show the data of a form, now and whenever it is valid."""
        form.observe(self._take, "config")
        if form.config is not None:
            self.config = form.config
        return self

    def look(self) -> None:
        """Look at the data now, whatever that takes; a download, for example."""
        with self._lock:
            if self.config is not None:
                self._asked = _source(self.config)
                self._start()

    def cancel(self) -> None:
        """End a look that is going on."""
        with self._lock:
            self._end()
            self.stage = {"name": "idle" if self.found is not None else "waiting"}

    def text(self) -> str:
        """Counts, the first window and the beginning of the first document."""
        if self.found is None or self.config is None:
            told = {"working": "looking at the data …", "failed": (self.problem or {}).get("message", "")}
            return f"Data: {told.get(self.stage['name'], 'nothing looked at yet')}"
        return DataCard(self.found, Diet.of(self.config, self.found)).to_text()

    def snapshot(self) -> str:
        """The same as HTML."""
        if self.found is None or self.config is None:
            return super().snapshot()
        return DataCard(self.found, Diet.of(self.config, self.found)).to_html()

    def close(self) -> None:
        """End the worker too."""
        with self._lock:
            self._end()
        super().close()

    def do_look(self) -> None:
        """Look at the data now."""
        self.look()

    def do_cancel(self) -> None:
        """End the look that is going on."""
        self.cancel()

    def _take(self, change: Any) -> None:
        if change["new"] is not None:
            self.config = change["new"]

    @traitlets.observe("config")
    def _changed(self, change: Any) -> None:
        new, old = change["new"], change["old"]
        with self._lock:
            if new is None:
                return
            if isinstance(old, RunConfig) and _key(old) == _key(new):
                self._show()  # the same data, and perhaps more or fewer steps
                return
            self._end()
            if _key(new) in _looks:
                self._take_look(_looks[_key(new)])
            elif _at_hand(new) or self._asked == _source(new):
                self._timer = threading.Timer(SETTLE_SECONDS, self._start)
                self._timer.daemon = True
                self._timer.start()
                self.stage = {"name": "working", "what": "", "fraction": None}
            else:
                self.stage = {"name": "waiting", "dataset": new.data.dataset, "tokenizer": new.data.tokenizer}

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._job is not None:
            self._job.cancel()
        self._timer = self._job = None

    def _start(self) -> None:
        with self._lock:
            config = self.config
            if config is None:
                return
            self._end()
            self.problem = None
            self.stage = {"name": "working", "what": "starting", "fraction": None}
            self._job = LookJob(config, lambda kind, content: self._hear(_key(config), kind, content))

    def _hear(self, key: str, kind: str, content: Any) -> None:
        with self._lock:
            if self.config is None or key != _key(self.config):
                return  # of a job that was replaced at this very moment
            if kind == "progress":
                self.stage = {"name": "working", "what": content["stage"], "fraction": content["fraction"]}
            elif kind == "look":
                _remember(key, content)
                self._take_look(content)
            else:
                self.problem = content
                self.stage = {"name": "failed"}

    def _take_look(self, found: DataLook) -> None:
        self.found = found
        self.problem = None
        self._show()
        self.stage = {"name": "idle"}

    def _show(self) -> None:
        if self.found is None or self.config is None:
            return
        card = DataCard(self.found, Diet.of(self.config, self.found))
        table = card.table()
        self.report = {
            "title": table.title,
            "headers": list(table.headers),
            "rows": [list(row) for row in table.rows],
            "notes": list(table.notes),
            "documents": list(self.found.documents),
            "window": [[token.id, token.text, token.special, token.learnt] for token in self.found.window],
        }
        self.refresh_snapshot()


def _key(config: RunConfig) -> str:
    """Equal exactly when the same data is meant."""
    return json.dumps([config.to_dict()["data"], list(config.plugins)], sort_keys=True)


def _source(config: RunConfig) -> tuple[str, str]:
    return config.data.dataset, config.data.tokenizer


def _at_hand(config: RunConfig) -> bool:
    return all(getattr(config.data, field).partition(":")[0] in names for field, names in _AT_HAND.items())


def _remember(key: str, found: DataLook) -> None:
    _looks[key] = found
    while len(_looks) > _KEPT:
        _looks.popitem(last=False)
