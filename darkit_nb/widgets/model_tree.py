"""`ModelTree`: a whole model as one tree that folds, each row saying what it computes, costs and how it fires."""

from __future__ import annotations

import json
import linecache
from typing import Any

import traitlets

from darkit_nb.errors import DarkitError, ModelError
from darkit_nb.records.trace import ModelTrace, TraceNode
from darkit_nb.records.trace_wire import to_wire
from darkit_nb.views.tree_columns import headline, notes_of
from darkit_nb.views.tree_rows import tree_rows
from darkit_nb.views.tree_text import TreeView
from darkit_nb.widgets.base import DarkitWidget, problem_of, script, style

MOST_LINES = 600
"""Lines of a class that are shown."""

_STILL_ROWS = 800
"""Rows of the static tree, which is saved with the notebook; deeper levels are left out beyond that."""
_TEXT_ROWS = 200


class ModelTree(DarkitWidget):
    """A traced model: searched, sorted, filtered, opened to any depth, down to the source of each class.

        view = ModelTree(model, input_ids)     # or ModelTree(dk.trace_model(model, input_ids))
        view.observe(lambda change: print(change["new"]), "selected")

    The dataflow of a level is drawn on demand where the model itself is there, and not only its trace.

    Args:
        source: a trace, or the model; None for an empty tree to be filled by `show`.
        inputs: of a model, as for `trace_model`.
        tokenizer: of transformers, where the input is a text.
        timing: also measure seconds.
        memory: also measure the memory of activations.

    Attributes:
        selected: dotted name of the chosen module, "" for the model itself, None for none; may be set and observed.
    """

    _esm = script("model_tree")
    _css = style("model_tree")

    tree = traitlets.Bytes().tag(sync=True)
    about = traitlets.Dict().tag(sync=True)
    selected: Any = traitlets.Unicode(None, allow_none=True).tag(sync=True)
    source: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    flow: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)

    def __init__(
        self,
        source: Any = None,
        inputs: Any = None,
        *,
        tokenizer: Any = None,
        timing: bool = False,
        memory: bool = False,
    ) -> None:
        self._trace: ModelTrace | None = None
        self._opened: tuple[Any, Any, Any] | None = None
        super().__init__()
        if source is not None:
            self.show(source, inputs, tokenizer=tokenizer, timing=timing, memory=memory)

    @property
    def trace(self) -> ModelTrace | None:
        """What is shown."""
        return self._trace

    def show(
        self,
        source: Any,
        inputs: Any = None,
        *,
        tokenizer: Any = None,
        timing: bool = False,
        memory: bool = False,
    ) -> None:
        """Show another trace, or trace and show a model; a selected module stays selected if the new one has it.

        Raises:
            ModelError: neither a trace nor a model, or a model without inputs.
            ShapeError: there is no tensor in the inputs.
        """
        opened = None
        if not isinstance(source, ModelTrace):
            _check(source, inputs)
            from darkit_nb.trace import trace_model

            opened = (source, inputs, tokenizer)
            source = trace_model(source, inputs, tokenizer=tokenizer, timing=timing, memory=memory)
        self._trace, self._opened = source, opened
        with self.hold_sync(), self.hold_trait_notifications():
            if self.selected is not None and self.selected not in source.index:
                self.selected = None
            self.source = self.flow = None
            self.about = {"headline": headline(source), "notes": notes_of(source), "live": opened is not None}
            self.tree = json.dumps(to_wire(source), ensure_ascii=False, separators=(",", ":")).encode()
        self.refresh_snapshot()

    @traitlets.validate("selected")
    def _known_module(self, proposal: Any) -> str | None:
        path = proposal["value"]
        return path if path is None or self._trace is None else self._trace.node(path).path

    # -- what the page asks for --------------------------------------------------------------------------------------

    def do_source(self, path: str) -> None:
        """Send the text of a module's class."""
        self.source = {"path": path, **_text_of(self._whole().node(path))}

    def do_flow(self, path: str) -> None:
        """Send the drawing of what happens inside a module."""
        try:
            self.flow = {"path": path, "svg": self.flow_svg(path)}
        except DarkitError as error:
            self.flow = {"path": path, "problem": problem_of(error)}

    def flow_svg(self, path: str = "") -> str:
        """The dataflow among the submodules of one module, as a drawing.

        Raises:
            ModelError: only a trace is shown, or there is no such module, or it never ran.
        """
        if self._opened is None:
            raise ModelError(
                "A dataflow is drawn from the model, and this tree holds only its trace.",
                expected="a tree made from a model and its inputs",
                received="a tree made from a trace" if self._trace else "an empty tree",
                fix="ModelTree(model, inputs)",
            )
        from darkit_nb.trace import trace_flow
        from darkit_nb.views.flow_svg import flow_svg

        model, inputs, tokenizer = self._opened
        return flow_svg(trace_flow(model, inputs, path, tokenizer=tokenizer))

    def _whole(self) -> ModelTrace:
        if self._trace is None:
            raise ModelError("There is no model in this tree yet.", fix="tree.show(model, inputs)")
        return self._trace

    # -- without a browser -------------------------------------------------------------------------------------------

    def text(self) -> str:
        """The tree as text, identical blocks as one row."""
        trace = self._trace
        return "ModelTree: nothing to show yet." if trace is None else _view(trace, _TEXT_ROWS).to_text()

    def snapshot(self) -> str:
        """The tree as a page that folds by itself."""
        return super().snapshot() if self._trace is None else _view(self._trace, _STILL_ROWS).to_html()


def _check(source: Any, inputs: Any) -> None:
    if not callable(getattr(source, "named_modules", None)):
        raise ModelError(
            "This cannot be shown as a model tree.",
            expected="a ModelTrace, or a torch module together with inputs",
            received=type(source).__name__,
            fix="ModelTree(dk.trace_model(model, inputs)); for a run, model = dk.load_model(run.latest_checkpoint())",
        )
    if inputs is None:
        raise ModelError(
            "A model has to run once to be traced, and there are no inputs.",
            expected="a tensor, a tuple or a mapping of arguments, or a text with its tokenizer",
            received="inputs=None",
            fix="ModelTree(model, torch.zeros(1, 32, dtype=torch.long)) for a language model",
        )


def _view(trace: ModelTrace, most: int) -> TreeView:
    """The tree down to the deepest level at which it has at most so many rows; two levels at least."""
    depths = [0] * (1 + max(node.depth for node in trace.nodes))
    for row in tree_rows(trace):
        depths[row.depth] += 1
    depth, rows = 0, depths[0]
    while depth + 1 < len(depths) and (depth < 1 or rows + depths[depth + 1] <= most):
        depth += 1
        rows += depths[depth]
    return TreeView(trace, None if depth + 1 == len(depths) else depth)


def _text_of(node: TraceNode) -> dict[str, Any]:
    """The text of a class as the page shows it: only of Python sources, whatever a trace from elsewhere names."""
    if not node.line:
        return {"text": "", "reason": f"{node.class_name} is written in no Python file that can be read here."}
    in_memory = node.file in linecache.cache  # as of a notebook's cell
    if not (in_memory or node.file.endswith(".py")):
        return {"text": "", "reason": f"{node.file} is no Python file."}
    linecache.checkcache(node.file)
    lines = linecache.getlines(node.file)[node.line - 1 : node.end_line]
    if not lines:
        return {"text": "", "reason": f"{node.file} cannot be read here, or has changed since the model was traced."}
    left = len(lines) - MOST_LINES
    return {
        "text": "".join(lines[:MOST_LINES]),
        "file": node.file,
        "line": node.line,
        "forward_line": node.forward_line,
        "reason": f"{left} more lines" if left > 0 else "",
    }
