"""`CodeEditor`: the class of any module, edited in place, tried, put into the model or the run, and taken back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets

from darkit_nb.runs import RunMonitor
from darkit_nb.runs.run import Run
from darkit_nb.widgets.base import StaticView
from darkit_nb.widgets.edit_desk import desk_of
from darkit_nb.widgets.edit_pane import EditPane
from darkit_nb.widgets.edit_run import RunDesk
from darkit_nb.widgets.model_tree import ModelTree

_BESIDE = {"min_width": "0", "margin": "0", "padding": "0", "overflow": "visible"}


class CodeEditor(StaticView, ipywidgets.Box):
    """Read the class of a module, change it, have it tried, and use it; the model tree stands beside it.

        editor = CodeEditor(model, input_ids)
        editor.path = "model.layers.0.mlp"

    An edit is tried in a process of its own before the model is touched, can be taken back, and is kept as a fork. Of
    a run that trains, the model is edited between two steps.

    Args:
        root: a model of PyTorch, or a `Run`.
        inputs: of a model, as for `trace_model`: what edits are tried on; a few tokens by default. With inputs, or a
            run, the tree is shown.
        tokenizer: of transformers, where the input is a text.
        optimizer: of a training of the model that goes on in this notebook.
        path: the module to open first.

    Attributes:
        path: dotted name of the open module, or None; may be set.
        code: what stands in the editor; may be set.
        pane: the editor proper. tree: the model tree, or None.
    """

    def __init__(
        self, root: Any, inputs: Any = None, *, tokenizer: Any = None, optimizer: Any = None, path: str | None = None
    ) -> None:
        self._unwatch: Callable[[], None] = lambda: None
        self.desk = desk_of(root, inputs, tokenizer=tokenizer, optimizer=optimizer)
        self.pane = EditPane(self.desk)
        self.pane.snapshot_parent = self
        self._snapshot_id = self.pane._snapshot_id  # whose front end hides the picture
        self.tree: ModelTree | None = None
        if isinstance(self.desk, RunDesk) or inputs is not None:
            self.tree = ModelTree()
            self.tree.snapshot_parent = self
            self.tree.observe(lambda change: self._chosen(change["new"]), "selected")
        self.pane.layout = ipywidgets.Layout(flex="3 1 480px", **_BESIDE)
        if self.tree is not None:
            self.tree.layout = ipywidgets.Layout(flex="2 1 360px", **_BESIDE)
        parts = [each for each in (self.tree, self.pane) if each is not None]
        layout = {"display": "flex", "flex_flow": "row wrap", "align_items": "flex-start", "margin": "0"}
        layout |= {"grid_gap": "8px", "overflow": "visible"}
        super().__init__(parts, layout=layout)
        self._inputs, self._tokenizer, self._wanted = inputs, tokenizer, path
        self.pane.observe(lambda change: self._opened(change["new"]), "source")
        self.pane.on_edited = self._edited
        if isinstance(self.desk, RunDesk) and self.tree is not None:
            self._follow(self.desk.root, self.tree)
        else:
            self._edited()
            if path is not None:
                self.path = path

    def __repr__(self) -> str:
        return self.text()

    # -- what is open ------------------------------------------------------------------------------------------------

    @property
    def path(self) -> str | None:
        """Dotted name of the open module; None where there is none."""
        return self.pane.opened.path if self.pane.opened else None

    @path.setter
    def path(self, path: str) -> None:
        self.pane.choose(path)

    @property
    def code(self) -> str:
        """What stands in the editor."""
        return self.pane.text_now

    @code.setter
    def code(self, text: str) -> None:
        self.pane.write(text)

    def close(self) -> None:
        """Remove the widget; model, run and edits stay."""
        self._unwatch()
        super().close()

    # -- the tree beside it ------------------------------------------------------------------------------------------

    def _chosen(self, path: str | None) -> None:
        if path is not None and path != self.path:
            self.pane.guard(self.pane.choose, path)

    def _opened(self, source: Any) -> None:
        if self.tree is not None and self.tree.trace is not None and source and source["path"] in self.tree.trace.index:
            self.tree.selected = source["path"]

    def _edited(self) -> None:
        """The model has changed: so has its tree. That of a run looks after itself."""
        if self.tree is not None and self.desk.kind == "model":
            self.tree.show(self.desk.root, self._inputs, tokenizer=self._tokenizer)

    def _follow(self, run: Run, tree: ModelTree) -> None:
        """Show the model of a run, which answers in its own time."""
        self._unwatch = RunMonitor.shared().watch(run.directory, self._run_moved)
        self.pane.opening = "Asking the run for its model…"
        tree.observe(lambda _: self.pane.guard(self._run_answered, tree), "tree")
        tree.observe(self._run_failed, "problem")
        tree.follow(run)

    def _run_answered(self, tree: ModelTree) -> None:
        """The run has sent what its model looks like."""
        trace = tree.trace
        if trace is None or not isinstance(self.desk, RunDesk):
            return
        self.desk.learn(trace)
        self.pane.list_modules()
        self.pane.opening = ""
        path, self._wanted = self._wanted, None
        if path is not None:
            self.pane.choose(path)

    def _run_failed(self, change: Any) -> None:
        if change["new"] is not None:
            self.pane.opening = ""

    def _run_moved(self, change: Any) -> None:
        if any(event.get("kind") in ("patch", "revert") for event in change.events):
            self.pane.renew_history()

    # -- without a browser -------------------------------------------------------------------------------------------

    def text(self) -> str:
        """What stands in the editor, as text."""
        return self.pane.text()

    def snapshot(self) -> str:
        """The open class and what was changed, for readers without a kernel."""
        return self.pane.snapshot()
