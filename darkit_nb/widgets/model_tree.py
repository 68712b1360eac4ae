"""`ModelTree`: a whole model as one tree that folds, each row saying what it computes, costs and how it fires."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import traitlets

from darkit_nb.records import trace_compare
from darkit_nb.records.trace import ModelTrace
from darkit_nb.records.trace_compare import TraceComparison, compare_traces
from darkit_nb.records.trace_wire import to_wire
from darkit_nb.runs import Run
from darkit_nb.views.tree_columns import headline, notes_of
from darkit_nb.widgets.base import script, style
from darkit_nb.widgets.edit_cell import EDIT_MODULE
from darkit_nb.widgets.spike_raster import SpikeRaster
from darkit_nb.widgets.tree_answers import AnsweringTree
from darkit_nb.widgets.tree_follow import FollowedRun, News
from darkit_nb.widgets.tree_link import link_choice
from darkit_nb.widgets.tree_still import still_view
from darkit_nb.widgets.tree_subject import Subject

_STILL_ROWS = 800
"""Rows of the static tree, which is saved with the notebook; deeper levels are left out beyond that."""
_TEXT_ROWS = 200


class ModelTree(AnsweringTree):
    """A traced model: searched, sorted, filtered, compared, opened to any depth, down to the source of each class.

        view = ModelTree(model, input_ids)                           # or ModelTree(dk.trace_model(model, input_ids))
        ModelTree(spiking, input_ids, compare=model)                 # what it was and what it is
        ModelTree(run)                                               # how a training fires, live
        view.observe(lambda change: print(change["new"]), "selected")

    Spikes, parameters and the dataflow of a module are shown where the model itself is there, and not only its trace;
    of a run, the spikes.

    Args:
        source: a trace, a model, a run or a comparison; None for an empty tree to be filled by `show`.
        inputs: of a model, as for `trace_model`; without them it is not run, and its structure is shown.
        compare: what the source is compared with: the trace or model as it was before.
        tokenizer: of transformers, where the input is a text.
        timing: also measure seconds.
        memory: also measure the memory of activations.

    Attributes:
        selected: dotted name of the chosen module, "" for the model itself, None for none; may be set and observed.
    """

    _esm = script("model_tree")
    _css = style("model_tree")

    tree = traitlets.Bytes().tag(sync=True)
    other = traitlets.Bytes().tag(sync=True)
    about = traitlets.Dict().tag(sync=True)
    selected: Any = traitlets.Unicode(None, allow_none=True).tag(sync=True)
    pulse: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    rates = traitlets.Bytes().tag(sync=True)
    course: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    actions = traitlets.List(traitlets.Dict()).tag(sync=True)

    def __init__(
        self,
        source: Any = None,
        inputs: Any = None,
        *,
        compare: Any = None,
        tokenizer: Any = None,
        timing: bool = False,
        memory: bool = False,
    ) -> None:
        self._comparison: TraceComparison | None = None
        super().__init__()
        self.observe(lambda _: self._draw_course(), "selected")
        if source is not None:
            self.show(source, inputs, compare=compare, tokenizer=tokenizer, timing=timing, memory=memory)

    @property
    def trace(self) -> ModelTrace | None:
        """What is shown; of two traces, the one after."""
        return None if self._after is None else self._after.trace

    @property
    def comparison(self) -> TraceComparison | None:
        """The two traces that are compared, if so."""
        return self._comparison

    # -- what is shown -----------------------------------------------------------------------------------------------

    def show(
        self,
        source: Any,
        inputs: Any = None,
        *,
        compare: Any = None,
        tokenizer: Any = None,
        timing: bool = False,
        memory: bool = False,
    ) -> None:
        """Show something else, with the arguments of the class; a selected module stays selected if it is there.

        Raises:
            ModelError: neither a trace nor a model.
            ShapeError: there is no tensor in the inputs.
            RunError: the run's folder is gone or cannot be written.
        """
        if isinstance(source, Run):
            self.follow(source)
            return
        if isinstance(source, TraceComparison):
            source, compare = source.after, source.before
        options: dict[str, Any] = {"tokenizer": tokenizer, "timing": timing, "memory": memory}
        before = None if compare is None else Subject.of(compare, inputs, **options)
        after = Subject.of(source, inputs, **options)
        with self._lock:
            self._leave_run()
            self._put(after, before)

    def compare(self, before: Any, inputs: Any = None, *, tokenizer: Any = None) -> None:
        """Show how what is shown differs from what it was: in every row, both values and their ratio.

            before = view.trace                # … then edit the model …
            view.show(model, input_ids)
            view.compare(before)

        Args:
            before: a trace, or a model, which is traced on the inputs of this tree; None ends the comparison.
            inputs: for that model, where this tree has none.
            tokenizer: where the input is a text.

        Raises:
            ModelError: nothing is shown yet, or this cannot be traced.
        """
        after = self._subject()
        earlier = None
        if before is not None:
            inputs = after.inputs if inputs is None else inputs
            earlier = Subject.of(before, inputs, tokenizer=tokenizer or after.tokenizer)
        with self._lock:
            self._put(after, earlier)

    def follow(self, run: Run | None) -> None:
        """Show the model of a run, and how it fires while it trains; None stays with what is shown.

        Raises:
            RunError: the run's folder is gone or cannot be written.
        """
        with self._lock:
            self._leave_run()
            if run is None:
                return
            followed = FollowedRun(run, self._heard)
            pulse = followed.start()
            self._followed = followed
            with self.hold_sync():
                self._clear()
                self.pulse = pulse
        self.refresh_snapshot()

    def link(self, raster: SpikeRaster) -> Callable[[], None]:
        """Have the raster show the layer that is chosen here, and choose here the layer it shows.

        Returns: A function that ends it.
        """
        return link_choice(self, raster)

    def close(self) -> None:
        """Stop watching a run, and remove the widget; the run goes on."""
        self._leave_run()
        super().close()

    def _put(self, after: Subject, before: Subject | None) -> None:
        comparison = None if before is None else compare_traces(before.trace, after.trace)
        self._after, self._before, self._comparison = after, before, comparison
        with self.hold_sync(), self.hold_trait_notifications():
            if self.selected is not None and not self._has(self.selected):
                self.selected = None
            self._forget_answers()
            self.actions = [EDIT_MODULE] if after.live or self._followed is not None else []
            self.about = self._described(after, before, comparison)
            self.other = (
                b""
                if before is None or comparison is None
                else _packed({"before": to_wire(before.trace), "rows": trace_compare.to_wire(comparison)})
            )
            self.tree = _packed(to_wire(after.trace))
        self.refresh_snapshot()

    def _described(self, after: Subject, before: Subject | None, comparison: TraceComparison | None) -> dict[str, Any]:
        sides = {"before": before, "after": after}
        found: dict[str, Any] = {
            "headline": headline(after.trace),
            "notes": [*(comparison.notes if comparison else ()), *notes_of(after.trace)],
            "live": [name for name, side in sides.items() if side is not None and side.live],
            "probes": self._followed is not None,
        }
        return found if before is None else {**found, "before": headline(before.trace)}

    def _clear(self) -> None:
        self._after = self._before = self._comparison = None
        self._forget_answers()
        self.selected = self.course = None
        self.tree = self.other = self.rates = b""
        self.about, self.problem = {}, None

    def _has(self, path: str) -> bool:
        if self._comparison is not None:
            return path in self._comparison.index
        return self._after is not None and path in self._after.trace.index

    @traitlets.validate("selected")
    def _known_module(self, proposal: Any) -> str | None:
        path = proposal["value"]
        if path is None or self._after is None or (self._comparison and path in self._comparison.index):
            return path
        return self._after.trace.node(path).path

    # -- a run that is followed --------------------------------------------------------------------------------------

    def _leave_run(self) -> None:
        if self._followed is not None:
            self._followed.stop()
        self._forget_probe()
        self._followed = self.pulse = self.course = None
        self.rates = b""

    def _heard(self, followed: FollowedRun, news: News) -> None:
        with self._lock:
            if followed is not self._followed:
                return
            with self.hold_sync():
                if news.trace is not None:
                    self.rates = b""  # those of another tree have other rows
                    self._put(Subject(news.trace), None)
                if news.rates is not None:
                    self.rates = news.rates.tobytes()
                if news.problem is not None or news.trace is not None:
                    self.problem = news.problem
                self.pulse = news.pulse
                if news.rates is not None or news.trace is not None:
                    self._draw_course()

    def _draw_course(self) -> None:
        if self._followed is not None:
            self.course = None if self.selected is None else self._followed.course(self.selected)

    # -- without a browser -------------------------------------------------------------------------------------------

    def text(self) -> str:
        """The tree as text, identical blocks as one row."""
        if self._comparison is not None:
            return still_view(self._comparison, _TEXT_ROWS).to_text()
        if self._after is not None:
            return still_view(self._after.trace, _TEXT_ROWS).to_text()
        if self._followed is not None:
            return f"ModelTree of {self._followed.run.name}: its tree is not here yet."
        return "ModelTree: nothing to show yet."

    def snapshot(self) -> str:
        """The tree as a page that folds by itself."""
        shown = self._comparison or self.trace
        return super().snapshot() if shown is None else still_view(shown, _STILL_ROWS).to_html()


def _packed(plain: Mapping[str, Any]) -> bytes:
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()
