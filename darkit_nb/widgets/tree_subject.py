"""What a model tree shows: a trace, and the model behind it where this process holds it."""

from __future__ import annotations

import linecache
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from darkit_nb.errors import ModelError
from darkit_nb.records.trace import ModelTrace
from darkit_nb.records.trace_node import TraceNode

if TYPE_CHECKING:
    from darkit_nb.records.snapshot import SpikeSnapshot

MOST_LINES = 600
"""Lines of a class that are shown."""


@dataclass(frozen=True)
class Subject:
    """A trace, and what made it.

    Attributes:
        trace: what is shown.
        model: the live model, or None.
        inputs: what it was run on; None where it was not.
        tokenizer: of transformers, where the input is a text, and to name the tokens of a raster.
    """

    trace: ModelTrace
    model: Any = None
    inputs: Any = None
    tokenizer: Any = None

    @classmethod
    def of(
        cls, source: Any, inputs: Any = None, *, tokenizer: Any = None, timing: bool = False, memory: bool = False
    ) -> Subject:
        """Of a trace, or of a model, which is traced; without inputs it is not run, and only its structure is shown.

        Raises:
            ModelError: neither a trace nor a model.
            ShapeError: there is no tensor in the inputs.
        """
        if isinstance(source, ModelTrace):
            return cls(source)
        _check(source)
        if inputs is None:
            from darkit_nb.trace.outline import outline_model

            return cls(outline_model(source), source, None, tokenizer)
        from darkit_nb.trace import trace_model

        trace = trace_model(source, inputs, tokenizer=tokenizer, timing=timing, memory=memory)
        return cls(trace, source, inputs, tokenizer)

    @property
    def live(self) -> bool:
        """Whether the model itself is here."""
        return self.model is not None

    def source(self, path: str) -> dict[str, Any]:
        """The text of a module's class, only of Python sources, whatever a trace from elsewhere names.

        Raises:
            ModelError: no such module.
        """
        return _text_of(self.trace.node(path))

    def flow_svg(self, path: str) -> str:
        """The dataflow among the submodules of one module, as a drawing.

        Raises:
            ModelError: the model is not here, or there is no such module, or it never ran.
        """
        self._require_model("A dataflow is drawn from the model")
        self._require_inputs("A dataflow is drawn from a forward")
        from darkit_nb.trace import trace_flow
        from darkit_nb.views.flow_svg import flow_svg

        return flow_svg(trace_flow(self.model, self.inputs, path, tokenizer=self.tokenizer))

    def spikes(self, path: str) -> SpikeSnapshot:
        """The spikes of one module on the same inputs.

        Raises:
            ModelError: the model is not here, or the module does not fire.
        """
        self._require_model("Spikes are recorded from the model")
        self._require_inputs("Spikes are recorded in a forward")
        from darkit_nb.evaluate.raster import module_raster

        return module_raster(self.model, self.inputs, path, tokenizer=self.tokenizer)

    def parameters(self, path: str) -> list[dict[str, Any]]:
        """Statistics of the parameters and buffers that a module holds itself.

        Raises:
            ModelError: the model is not here, or there is no such module.
        """
        self._require_model("Parameters are counted in the model")
        from darkit_nb.trace.statistics import parameter_statistics

        module = dict(self.model.named_modules(remove_duplicate=False)).get(self.trace.node(path).path)
        if module is None:
            raise ModelError(
                "The model has changed since it was traced, and this module is gone.",
                expected="a module of the model as it is now",
                received=repr(path),
                fix="show it again: tree.show(model, inputs)",
            )
        return [own.to_dict() for own in parameter_statistics(module)]

    def _require_model(self, what: str) -> None:
        if self.model is None:
            raise ModelError(
                f"{what}, and this tree holds only its trace.",
                expected="a tree made from a model and its inputs",
                received="a tree made from a trace",
                fix="ModelTree(model, inputs)",
            )

    def _require_inputs(self, what: str) -> None:
        if self.inputs is None:
            raise ModelError(
                f"{what}, and there are no inputs to run the model on.",
                expected="a tensor, a tuple or a mapping of arguments, or a text with its tokenizer",
                received="a tree made from a model alone",
                fix="ModelTree(model, torch.zeros(1, 32, dtype=torch.long)) for a language model",
            )


def _check(source: Any) -> None:
    if not callable(getattr(source, "named_modules", None)):
        raise ModelError(
            "This cannot be shown as a model tree.",
            expected="a ModelTrace, a run, or a torch module",
            received=type(source).__name__,
            fix="ModelTree(dk.trace_model(model, inputs)); for a run by its name, ModelTree(dk.open_run(name))",
        )


def _text_of(node: TraceNode) -> dict[str, Any]:
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
