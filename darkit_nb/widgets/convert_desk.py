"""The other pages of the conversions' panel: the conversion that is shown, and all of them beside one another."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import traitlets

from darkit_nb.errors import DarkitError, RunError
from darkit_nb.records.conversion_progress import ConversionProgress
from darkit_nb.records.conversion_result import ConversionRow
from darkit_nb.records.trace import ModelTrace
from darkit_nb.runs.conversion import Conversion, list_conversions
from darkit_nb.runs.monitor import RunChange, RunMonitor
from darkit_nb.views.conversion_card import ConversionCard
from darkit_nb.views.conversion_points import operation_points
from darkit_nb.views.conversion_steps import steps_view
from darkit_nb.views.conversion_table import plan_view, result_view
from darkit_nb.widgets.base import script, style
from darkit_nb.widgets.convert_setup import ConvertSetup
from darkit_nb.widgets.convert_wire import course_data, rows_data
from darkit_nb.widgets.helper import Helper

_MOST_CLICKS = 32
_SAMPLE_TOKENS = 96


class ConvertDesk(ConvertSetup):
    """What `ConvertPanel` shows, but for the model tree.

    Args:
        source, pipeline, bits, folder, runs_dir, options: as of `ConvertSetup`.

    Attributes:
        page: the page shown: Set up, Watch or Results.
        opening: called with the trace of a converted model that was opened, and with None when it is put away.
        progress: of the conversion that is shown, as it was read last.
    """

    _esm = script("convert_panel")
    _css = style("convert_panel")

    page = traitlets.Unicode("Set up").tag(sync=True)
    course: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    choices = traitlets.List(traitlets.Dict()).tag(sync=True)
    results = traitlets.Dict().tag(sync=True)
    pending = traitlets.Unicode().tag(sync=True)
    answered = traitlets.List(traitlets.Unicode()).tag(sync=True)
    opened: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    samples: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)

    def __init__(self, *given: Any, **named: Any) -> None:
        self.conversion: Conversion | None = None
        self.progress: ConversionProgress | None = None
        self.opening: Callable[[ModelTrace | None], None] = _nothing
        self._unwatch: Callable[[], None] = _nothing
        self._others: dict[str, ConversionProgress] = {}
        self._clicks: list[str] = []
        super().__init__(*given, **named)
        found = list_conversions(self.folder)
        if found:
            self.show(found[-1])

    # -- what Python sees --------------------------------------------------------------------------------------------

    def start(self) -> Conversion:
        """Start the conversion that is set up, in the background, and show it.

        Raises:
            DarkitError: something is wrong with the model or the settings, or it cannot be started.
        """
        conversion = Conversion.start(self.request())
        self.show(conversion)
        self.page = "Watch"
        with self._lock:
            self._refresh()  # the next one gets another folder
        return conversion

    def show(self, conversion: Conversion | str | Path) -> None:
        """Show another conversion: itself, its id, or the folder of its model.

        Raises:
            RunError: there is none.
        """
        found = conversion if isinstance(conversion, Conversion) else self._named(conversion)
        self._unwatch()
        with self._lock:
            if found != self.conversion:
                self.close_tree()
            self.conversion, self.pending = found, ""
            self._read_others()
            self._show_now()
        self._unwatch = RunMonitor.shared().watch(found.directory, self._changed)

    def stop(self) -> None:
        """Ask the conversion that is shown to end; what is done is kept. Returns at once."""
        self._act("stop", lambda conversion: conversion.stop())

    def resume(self) -> None:
        """Go on after the last block that was done. Returns at once."""
        self._act("resume", lambda conversion: conversion.resume())

    def open_tree(self) -> None:
        """Trace the converted model that is shown, in a process of its own, and hand the trace to `opening`."""
        conversion = self._require()
        self.opened = {"id": conversion.id, "stage": "opening", "problem": None}
        words = ["tree", str(conversion.out), "--format", "json"]
        Helper(words, lambda text, problem: self._hear_tree(conversion.id, text, problem))

    def close_tree(self) -> None:
        """Put the tree away."""
        if self.opened is not None:
            self.opened = None
            self.opening(None)

    def write_on(self, prompt: str) -> None:
        """Let the float model and the converted one continue a text, each in a process of its own; see `samples`."""
        conversion = self._require()
        models = {"float": conversion.request.source, conversion.request.name: str(conversion.out)}
        self.samples = {"id": conversion.id, "prompt": prompt, "stage": "writing", "problem": None, "texts": []}
        self._write_next(conversion.id, prompt, list(models.items()))

    def close(self) -> None:
        """Stop watching, and remove the widget; conversions go on."""
        self._unwatch()
        super().close()

    # -- what the page asks for --------------------------------------------------------------------------------------

    def do_stop(self) -> None:
        """Stop."""
        self.stop()

    def do_resume(self) -> None:
        """Resume."""
        self.resume()

    def do_show(self, id: str) -> None:
        """Show the conversion of that id."""
        if self.conversion is None or id != self.conversion.id:
            self.show(id)

    def do_start(self, click: str) -> None:
        """Start once for every click, however often the click arrives."""
        with self._lock:
            if click in self._clicks:
                return
            self._clicks = [*self._clicks[-_MOST_CLICKS:], click]
        try:
            self.start()
        finally:
            self.answered = [*self.answered[-_MOST_CLICKS:], click]

    def do_open(self, id: str) -> None:
        """Open the converted model in the tree, or close the tree."""
        self.do_show(id)
        if self.opened is not None and self.opened["stage"] == "open":
            self.close_tree()
        else:
            self.open_tree()

    def do_write_on(self, id: str, prompt: str) -> None:
        """Let both models write."""
        self.do_show(id)
        self.write_on(prompt)

    # -- what its folder says ----------------------------------------------------------------------------------------

    def _changed(self, change: RunChange) -> None:
        """Called by the monitor's thread, a few times a second at most."""
        with self._lock:
            if self.conversion is None or change.run.root != self.conversion.root.resolve():
                return
            self._show_now()

    def _show_now(self) -> None:
        conversion = self._require()
        try:
            progress = conversion.progress()
        except DarkitError:
            return  # its folder was removed; what was read stays
        self.progress = progress
        self._others[progress.id] = progress
        if (self.pending == "stop" and not progress.active) or (self.pending == "resume" and progress.active):
            self.pending = ""
        found = list(reversed(self._others.values()))
        with self.hold_sync():
            self.course = course_data(progress, time.time())
            self.choices = [{"id": each.id, "label": _label(each)} for each in found]
            self.results = rows_data(found, progress.source)
        self.refresh_snapshot()

    def _read_others(self) -> None:
        """The conversions beside the one that is shown, in the order in which they were begun."""
        self._others = {}
        for each in list_conversions(self._require().root.parent):
            with suppress(DarkitError):  # one of a newer version
                self._others[each.id] = each.progress()

    def _named(self, name: str | Path) -> Conversion:
        beside = self._require().root.parent if self.conversion is not None else self.folder
        inside = beside / name
        return Conversion.open(inside if inside.exists() else name)

    def _require(self) -> Conversion:
        if self.conversion is None:
            raise RunError("No conversion is shown.", expected="one", received="none", fix="panel.start() begins one")
        return self.conversion

    def _act(self, name: str, action: Callable[[Conversion], Any]) -> None:
        """Do something with the conversion, once: asked again while it is being done, nothing happens."""
        conversion = self._require()
        with self._lock:
            if self.pending:
                return
            self.pending = name
        threading.Thread(target=self._do, args=(conversion, action), name=f"darkit-{name}", daemon=True).start()

    def _do(self, conversion: Conversion, action: Callable[[Conversion], Any]) -> None:
        done = self.guard(action, conversion)
        with self._lock:
            if done is None or done == "":
                self.pending = ""
            if conversion == self.conversion:
                self._show_now()

    def _hear_tree(self, key: str, text: str, problem: dict[str, Any] | None) -> None:
        with self._lock:
            if self.opened is None or self.opened["id"] != key:
                return
            if problem is None:
                self.opening(ModelTrace.from_dict(json.loads(text)))
            self.opened = {"id": key, "stage": "failed" if problem else "open", "problem": problem}

    def _write_next(self, key: str, prompt: str, models: list[tuple[str, str]]) -> None:
        (name, model), *rest = models
        words = ["generate", model, f"--prompt={prompt}", "--max-new-tokens", str(_SAMPLE_TOKENS), "--seed", "0"]
        words += ["--temperature", "0.7", "--runs-dir", str(self.runs_dir)]

        def hear(text: str, problem: dict[str, Any] | None) -> None:
            with self._lock:
                asked = self.samples
                if asked is None or asked["id"] != key or asked["prompt"] != prompt:
                    return
                written = [] if problem else [{"name": name, "text": text.removeprefix(prompt).removesuffix("\n")}]
                stage = "failed" if problem else "writing" if rest else "done"
                self.samples = {**asked, "texts": [*asked["texts"], *written], "stage": stage, "problem": problem}
            if rest and not problem:
                self._write_next(key, prompt, rest)

        Helper(words, hear)

    # -- without a browser -------------------------------------------------------------------------------------------

    def text(self) -> str:
        """What is set up, the conversion that is shown, and all of them beside one another."""
        return "\n\n".join(view.to_text() for view in self._views())

    def snapshot(self) -> str:
        """The same as a static page."""
        return "\n".join(f'<div style="margin:0 0 12px">{view.to_html()}</div>' for view in self._views())

    def _views(self) -> list[Any]:
        if self.progress is None:
            ahead = [] if self.spec is None else [steps_view(self.spec, self.source)]
            return [*ahead, *([plan_view(self.plan)] if self.plan is not None else [])]
        rows = _same_text(list(self._others.values()), self.progress.source)
        several = len(rows) > len(self.progress.rows)
        return [ConversionCard(self.progress), *([result_view(rows), operation_points(rows)] if several else [])]


def _same_text(found: list[ConversionProgress], source: str) -> list[ConversionRow]:
    """The float model once, and every converted one of the same source."""
    rows = [row for each in found if each.source == source for row in each.rows]
    floats = [row for row in rows if row.cost is None]
    return [*floats[:1], *(row for row in rows if row.cost is not None)]


def _label(progress: ConversionProgress) -> str:
    return f"{Path(progress.source).name} → {progress.name} · {progress.state}"


def _nothing(*_: Any) -> None:
    pass
