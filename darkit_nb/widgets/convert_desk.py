"""The last page of the conversions' panel: what came of them, beside one another."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable
from typing import Any

import traitlets

from darkit_nb.evaluate import paired
from darkit_nb.records.conversion_progress import ConversionProgress
from darkit_nb.records.conversion_result import ConversionComparison, ConversionRow
from darkit_nb.records.trace import ModelTrace
from darkit_nb.runs.conversion import Conversion
from darkit_nb.runs.conversion_queue import alternatives, queue_conversions
from darkit_nb.views.conversion_card import ConversionCard
from darkit_nb.views.conversion_points import operation_points
from darkit_nb.views.conversion_steps import steps_view
from darkit_nb.views.conversion_table import plan_view, result_view
from darkit_nb.widgets.base import script, style
from darkit_nb.widgets.convert_course import ConvertCourse
from darkit_nb.widgets.convert_others import compared
from darkit_nb.widgets.convert_samples import Samples
from darkit_nb.widgets.convert_wire import converted_row, floats_of, rows_data
from darkit_nb.widgets.helper import Helper

_THERE = ("finished", "starting", "running", "queued")


class ConvertDesk(ConvertCourse):
    """What `ConvertPanel` shows, but for the model tree.

    Args:
        source, pipeline, bits, folder, runs_dir, options: as of `ConvertSetup`.

    Attributes:
        opening: called with the trace of a converted model that was opened, and with None when it is put away.
    """

    _esm = script("convert_panel")
    _css = style("convert_panel")

    results = traitlets.Dict().tag(sync=True)
    opened: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    samples: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)

    def __init__(self, *given: Any, **named: Any) -> None:
        self.opening: Callable[[ModelTrace | None], None] = _nothing
        self._samples = Samples(lambda data: self.set_trait("samples", data))
        self._against = ""
        super().__init__(*given, **named)

    # -- what Python sees --------------------------------------------------------------------------------------------

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

    def put_beside(self, reference: str | None) -> None:
        """Say what every other model costs more than one of them, pair by pair over the windows of the text.

        Args:
            reference: pipeline or folder of a converted model; None puts them beside the float one.

        Raises:
            DataError: no model is called so, or several are.
        """
        with self._lock:
            self._against = "" if reference is None else paired.against(self._rows(), str(reference)).path
            if self.conversion is not None:
                self._show_now()

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
        """Let the float model and the converted one continue a text, in a process of their own; see `samples`.

        Raises:
            DarkitError: nothing is shown, or its folder is gone.
        """
        self._samples.write(self._require(), prompt)

    def stop_writing(self) -> None:
        """End both texts at their next token; what is there stays."""
        self._samples.stop()

    def close(self) -> None:
        """Stop watching, and remove the widget; conversions go on."""
        self._samples.forget()
        self._samples.release()
        super().close()

    # -- what the page asks for --------------------------------------------------------------------------------------

    def do_against(self, id: str) -> None:
        """Put all beside the conversion of that id, or beside the float model."""
        row = converted_row(self._others.found[id]) if id in self._others.found else None
        self.put_beside(None if row is None else row.path)

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

    def do_stop_writing(self) -> None:
        """Stop both texts."""
        self.stop_writing()

    # -- what its folder says ----------------------------------------------------------------------------------------

    def _show_results(self, found: list[ConversionProgress]) -> None:
        if self.conversion is None or self.progress is None:
            self.results = rows_data([], "", [])
            return
        source = self.progress.source
        there = {each.name for each in found if each.source == source and each.state in _THERE}
        also = compared(self.conversion.request.spec, there)
        self.results = rows_data(found, source, also, self._comparison())

    def _leave(self) -> None:
        self._samples.release()
        self.close_tree()

    def _hear_tree(self, key: str, text: str, problem: dict[str, Any] | None) -> None:
        with self._lock:
            if self.opened is None or self.opened["id"] != key:
                return
            if problem is None:
                self.opening(ModelTrace.from_dict(json.loads(text)))
            self.opened = {"id": key, "stage": "failed" if problem else "open", "problem": problem}

    # -- without a browser -------------------------------------------------------------------------------------------

    def text(self) -> str:
        """What is set up, the conversion that is shown, and all of them beside one another."""
        return "\n\n".join(view.to_text() for view in self._views())

    def snapshot(self) -> str:
        """The same as a static page."""
        return "\n".join(f'<div style="margin:0 0 12px">{view.to_html()}</div>' for view in self._views())

    def _rows(self) -> list[ConversionRow]:
        """The float model once, and every converted one of the same source."""
        source = None if self.progress is None else self.progress.source
        same = [each for each in self._others.found.values() if each.source == source]
        rows = [row for each in same for row in each.rows if row.cost is not None]
        base = next((row for row in rows if row.path == self._against), None)
        return [*floats_of(same, base)[:1], *rows]

    def _comparison(self) -> ConversionComparison | None:
        """What the others are put beside; None for the float model, and where what was chosen is gone."""
        rows = self._rows()
        return paired.against(rows, self._against) if self._against in [row.path for row in rows] else None

    def _views(self) -> list[Any]:
        if self.progress is None:
            ahead = [] if self.spec is None else [steps_view(self.spec, self.source)]
            return [*ahead, *([plan_view(self.plan)] if self.plan is not None else [])]
        rows = self._rows()
        if len(rows) <= len(self.progress.rows):
            return [ConversionCard(self.progress)]
        alone = dataclasses.replace(self.progress, rows=())  # its result is in the table of all
        return [ConversionCard(alone), result_view(rows, self._comparison()), operation_points(rows)]


def _nothing(*_: Any) -> None:
    pass
