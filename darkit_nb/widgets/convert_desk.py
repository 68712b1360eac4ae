"""The other pages of the conversions' panel: the conversion that is shown, and all of them beside one another."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import traitlets

from darkit_nb.errors import RunError
from darkit_nb.records.conversion_progress import ConversionProgress
from darkit_nb.records.conversion_result import ConversionRow
from darkit_nb.records.trace import ModelTrace
from darkit_nb.runs.conversion import Conversion, list_conversions
from darkit_nb.runs.conversion_queue import alternatives, queue_conversions
from darkit_nb.views.conversion_card import ConversionCard
from darkit_nb.views.conversion_points import operation_points
from darkit_nb.views.conversion_steps import steps_view
from darkit_nb.views.conversion_table import plan_view, result_view
from darkit_nb.widgets.base import script, style
from darkit_nb.widgets.convert_others import Others, compared
from darkit_nb.widgets.convert_setup import ConvertSetup
from darkit_nb.widgets.convert_wire import ScoringPace, course_data, rows_data
from darkit_nb.widgets.helper import Helper

_MOST_CLICKS = 32
_SAMPLE_TOKENS = 96
_THERE = ("finished", "starting", "running", "queued")


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
        self._others = Others(self._changed)
        self._pace = ScoringPace()
        self._seen_at_work = ""
        self._clicks: list[str] = []
        super().__init__(*given, **named)
        found = list_conversions(self.folder)
        if found:
            self.show(found[-1])

    # -- what Python sees --------------------------------------------------------------------------------------------

    def start(self) -> Conversion:
        """Start the conversion that is set up, in the background, and show it; those to compare with are queued.

        Raises:
            DarkitError: something is wrong with the model or the settings, or it cannot be started.
        """
        requests = self.requests()
        conversion = queue_conversions(requests)[0] if len(requests) > 1 else Conversion.start(requests[0])
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
        with self._lock:
            if found != self.conversion:
                self.close_tree()
            self.conversion, self.pending = found, ""
            self._others.look(found)
            self._show_now()

    def convert_too(self, pipelines: Iterable[str]) -> list[Conversion]:
        """Convert the model that is shown with other pipelines, at the same bits and on the same texts, in turn.

        Raises:
            DarkitError: a pipeline that has no such bits, or a folder that cannot be made.
        """
        shown = self._require()
        queued = queue_conversions(alternatives(shown.request, list(pipelines)))
        with self._lock:
            self._others.look(shown)
            self._show_now()
        return queued

    @property
    def models(self) -> Path:
        """Folder of the conversion that is shown and of those beside it."""
        return self.folder if self.conversion is None else self.conversion.root.parent

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
        asked = {"id": conversion.id, "prompt": prompt, "stage": "writing", "problem": None, "texts": []}
        self.samples = {**asked, "names": list(models)}
        self._write_next(conversion.id, prompt, list(models.items()))

    def close(self) -> None:
        """Stop watching, and remove the widget; conversions go on."""
        self._others.close()
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

    def do_also(self, id: str, pipelines: list[str]) -> None:
        """Convert with other pipelines too."""
        self.do_show(id)
        self.convert_too(pipelines)

    def do_write_on(self, id: str, prompt: str) -> None:
        """Let both models write."""
        self.do_show(id)
        self.write_on(prompt)

    # -- what its folder says ----------------------------------------------------------------------------------------

    def _changed(self, progress: ConversionProgress, before: str | None) -> None:
        """Called on another thread: one of the conversions in the folder is not what it was."""
        with self._lock:
            if self.conversion is None:
                return
            own = progress.id == self.conversion.id
            if own and progress.active:
                self._seen_at_work = progress.id
            if not own and progress.active and before == "queued" and self._follows():
                self.show(self._others.conversions[progress.id])
            else:
                self._show_now()

    def _follows(self) -> bool:
        """Whether somebody watched the conversion that is shown come to its end, and will watch the next one."""
        done = self.progress is not None and not self.progress.active
        return done and self.page == "Watch" and self.progress is not None and self._seen_at_work == self.progress.id

    def _show_now(self) -> None:
        conversion = self._require()
        progress = self._others.read(conversion)
        if progress is None:
            return  # its folder was removed; what was read stays
        self.progress = progress
        if (self.pending == "stop" and not progress.active) or (self.pending == "resume" and progress.active):
            self.pending = ""
        found = list(reversed(self._others.found.values()))
        there = {each.name for each in found if each.source == progress.source and each.state in _THERE}
        with self.hold_sync():
            self.course = course_data(progress, time.time(), self._pace)
            self.choices = [_choice(each) for each in found]
            self.results = rows_data(found, progress.source, compared(conversion.request.spec, there))
        self.refresh_snapshot()

    def _named(self, name: str | Path) -> Conversion:
        inside = self.models / name
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
        rows = _same_text(list(self._others.found.values()), self.progress.source)
        if len(rows) <= len(self.progress.rows):
            return [ConversionCard(self.progress)]
        alone = dataclasses.replace(self.progress, rows=())  # its result is in the table of all
        return [ConversionCard(alone), result_view(rows), operation_points(rows)]


def _same_text(found: list[ConversionProgress], source: str) -> list[ConversionRow]:
    """The float model once, and every converted one of the same source."""
    rows = [row for each in found if each.source == source for row in each.rows]
    floats = [row for row in rows if row.cost is None]
    return [*floats[:1], *(row for row in rows if row.cost is not None)]


def _choice(progress: ConversionProgress) -> dict[str, str]:
    title = f"{Path(progress.source).name} → {progress.name}"
    label = f"{title} · {progress.state}"
    return {"id": progress.id, "name": progress.name, "title": title, "label": label, "state": progress.state}


def _nothing(*_: Any) -> None:
    pass
