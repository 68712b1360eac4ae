"""The steps of one level from `torch.export`: every operator, and which module applied it."""

from __future__ import annotations

import contextlib
import io
import logging
import operator
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree

from darkit_nb.records.trace_node import TensorSpec
from darkit_nb.trace.flow_fold import Step
from darkit_nb.trace.inputs import Arguments

_MAY_RETURN_ITS_INPUT = ("aten.to.", "aten.contiguous.", "aten.detach.", "aten.alias.", "aten.lift_fresh")
_WHOLE = ("", "")
_FRAME = re.compile(r'File "(.+?)", line (\d+), in ')


@dataclass(frozen=True)
class Applied:
    """One operator of an exported graph.

    Attributes:
        name: full name, as `aten.add.Tensor`.
        modules: (path relative to the exported module, name of the call) from the outside in, itself first.
        frames: (file, line) of the forwards around it, from the outside in.
        inputs: what it takes: the operator or input that made it.
    """

    name: str
    modules: tuple[tuple[str, str], ...]
    frames: tuple[tuple[str, int], ...]
    inputs: tuple[Made, ...]


@dataclass(frozen=True)
class Made:
    """A tensor.

    Attributes:
        by: place of the operator that made it, or −1 − the number of the input it is.
        spec: what it is.
        unchanged: the tensor that the operator returned as it was, if it did.
        home: module that applied the operator.
    """

    by: int
    spec: TensorSpec | None
    unchanged: Made | None = None
    home: tuple[str, str] = ("", "")

    def seen_from(self, modules: tuple[tuple[str, str], ...]) -> Made:
        """The same tensor, for an operator applied by `modules`.

        A conversion to the type a tensor has returns that very tensor, and the graph then takes the conversion for its
        maker, also where the tensor went around the module that converted it.
        """
        return self if self.unchanged is None or self.home in modules else self.unchanged.seen_from(modules)


@dataclass(frozen=True)
class Exported:
    """A flattened graph: names of the inputs, operators in order, and what is returned."""

    inputs: tuple[str, ...]
    operators: tuple[Applied, ...]
    outputs: tuple[Made, ...]


def export_graph(module: nn.Module, arguments: Arguments) -> Exported:
    """Every operator of one forward, in order. Raises whatever torch.export raises."""
    with _quiet():
        program = torch.export.export(module, *arguments, strict=False)
    kinds = {spec.arg.name: spec.kind for spec in program.graph_signature.input_specs}
    names = [node.name for node in program.graph.nodes if node.op == "placeholder"]
    own = [name for name in names if kinds.get(name) == InputKind.USER_INPUT]
    placeholders = {name: Made(-1 - own.index(name), None) for name in own}
    first = {id(each): path for path, each in module.named_modules()}
    flat = _Flat({path: first[id(each)] for path, each in module.named_modules(remove_duplicate=False)})
    results = flat.walk(program.graph_module, placeholders, ())
    count = len(program.graph_signature.user_outputs)
    outputs = [made.seen_from((_WHOLE,)) for made in results[len(results) - count :] if made is not None]
    return Exported(tuple(own), tuple(flat.operators), tuple(outputs))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what torch.export prints on its way, a whole graph where it fails, out of the notebook."""
    before = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


class _Flat:
    """Walks a graph, and the graphs inside it that switch gradients or autocast."""

    def __init__(self, names: dict[str, str]) -> None:
        self.operators: list[Applied] = []
        self._names = names  # of a module that hangs in the model twice, the first one

    def walk(
        self, graph: fx.GraphModule, given: dict[str, Made], around: tuple[tuple[str, str], ...]
    ) -> list[Made | None]:
        """What the graph returns."""
        made: dict[fx.Node, Any] = {}
        for node in graph.graph.nodes:
            if node.op == "placeholder":
                made[node] = _with_spec(given.get(node.name), node)
            elif node.op == "output":
                return [made.get(each) for each in pytree.tree_leaves(node.args[0])]
            elif node.op == "call_function":
                made[node] = self._call(graph, node, made, around)
        return []

    def _call(
        self, graph: fx.GraphModule, node: fx.Node, made: dict[fx.Node, Any], around: tuple[tuple[str, str], ...]
    ) -> Any:
        if node.target is operator.getitem:
            held, place = made.get(node.args[0]), node.args[1]  # pyright: ignore[reportArgumentType]
            if isinstance(held, list):
                return held[place] if isinstance(place, int) else None
            return _with_spec(held, node)
        modules = around or _modules(node, self._names)
        inner = self._inside(graph, node, made, modules)
        if inner is not None:
            return inner if len(inner) != 1 else inner[0]
        if not any(isinstance(each, Tensor) for each in pytree.tree_leaves(node.meta.get("val"))):
            return None  # checks of shapes, numbers
        sources = (made.get(source) for source in node.all_input_nodes)
        inputs = tuple(each.seen_from(modules) for each in sources if isinstance(each, Made))
        self.operators.append(Applied(str(node.target), modules, tuple(_frames(node)), inputs))
        result = Made(len(self.operators) - 1, _spec(node))
        unchanged = (
            len(inputs) == 1 and str(node.target).startswith(_MAY_RETURN_ITS_INPUT) and inputs[0].spec == result.spec
        )
        return Made(result.by, result.spec, inputs[0], modules[-1]) if unchanged else result

    def _inside(
        self, graph: fx.GraphModule, node: fx.Node, made: dict[fx.Node, Any], modules: tuple[tuple[str, str], ...]
    ) -> list[Any] | None:
        """Results of the one graph that a node runs under other settings, or None for an ordinary operator."""
        held = [each for each in node.all_input_nodes if each.op == "get_attr"]
        graphs = [getattr(graph, str(each.target), None) for each in held]
        if len(graphs) != 1 or not isinstance(graphs[0], fx.GraphModule):
            return None
        names = [each.name for each in graphs[0].graph.nodes if each.op == "placeholder"]
        operands = [made.get(each) for each in node.args[-len(names) :]] if names else []  # pyright: ignore[reportArgumentType]
        given = {name: each for name, each in zip(names, operands, strict=True) if isinstance(each, Made)}
        return self.walk(graphs[0], given, modules)


def _modules(node: fx.Node, names: dict[str, str]) -> tuple[tuple[str, str], ...]:
    stack: dict[Any, tuple[str, Any]] = node.meta.get("nn_module_stack") or {}
    return tuple((names.get(path, path), str(key)) for key, (path, _) in stack.items()) or (_WHOLE,)


def _frames(node: fx.Node) -> Iterator[tuple[str, int]]:
    for file, line in _FRAME.findall(node.meta.get("stack_trace") or ""):
        yield file, int(line)


def _spec(node: fx.Node) -> TensorSpec | None:
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        return None
    return TensorSpec("", tuple(int(size) for size in value.shape), str(value.dtype).removeprefix("torch."))


def _with_spec(made: Made | None, node: fx.Node) -> Made | None:
    return None if made is None else Made(made.by, _spec(node) or made.spec)


def level_steps(
    exported: Exported, path: str, base: str, classes: dict[str, str], lines: tuple[str, int, int]
) -> list[Step]:
    """What the module at `path` applies itself, and the modules it calls, with the tensors between them.

    Args:
        exported: graph of a module around it, or of itself.
        path: relative to the exported module.
        base: path of the exported module in the model.
        classes: class name of every module, by path in the model.
        lines: file, first and last line of the forward of the level.
    """
    return _Level(exported, path, base, classes, lines).steps()


class _Level:
    def __init__(
        self, exported: Exported, path: str, base: str, classes: dict[str, str], lines: tuple[str, int, int]
    ) -> None:
        self._exported, self._path, self._base, self._classes, self._lines = exported, path, base, classes, lines
        self._steps: list[Step] = []
        self._place: dict[int, int] = {}
        self._open: dict[tuple[str, str], int] = {}

    def steps(self) -> list[Step]:
        inside = {number for number, each in enumerate(self._exported.operators) if self._below(each) is not None}
        left: dict[int, TensorSpec | None] = {}
        for number, each in enumerate(self._exported.operators):
            if number in inside:
                self._add(number, each)
                continue
            left |= {made.by: made.spec for made in each.inputs if made.by in inside}
        left |= {made.by: made.spec for made in self._exported.outputs if made.by in inside or not self._path}
        for number, (by, spec) in enumerate(left.items()):
            label = "output" if len(left) == 1 else f"output {number}"
            step = Step("output", label)
            source = self._source(by)
            step.inputs.append((source, spec))
            self._steps.append(step)
        return self._steps

    def _below(self, each: Applied) -> tuple[str, str] | None:
        """The module right below the level that applied it, ("", "") for the level itself, None for one outside."""
        paths = [path for path, _ in each.modules]
        if self._path not in paths:
            return None
        at = len(paths) - 1 - paths[::-1].index(self._path)
        return each.modules[at + 1] if at + 1 < len(paths) else _WHOLE

    def _add(self, number: int, each: Applied) -> None:
        child = self._below(each)
        if child is None:
            return
        sources = [(self._source(made.by), made.spec) for made in each.inputs]
        if not child[0]:
            label = each.name.removeprefix("aten.").partition(".")[0]
            self._place[number] = len(self._steps)
            self._steps.append(Step("operator", label, each.name, line=self._line(each), inputs=sources))
            return
        if child not in self._open:
            path = f"{self._base}.{child[0]}" if self._base else child[0]
            self._open[child] = len(self._steps)
            name = path.rpartition(".")[2]
            self._steps.append(Step("module", name, self._classes.get(path, ""), path, self._line(each)))
        place = self._place[number] = self._open[child]
        self._steps[place].inputs += [
            pair for pair in sources if pair[0] != place and pair not in self._steps[place].inputs
        ]

    def _source(self, by: int) -> int:
        """Place of the step that made a tensor; one of an input is made when it is first asked for."""
        if by not in self._place:
            names = self._exported.inputs
            label = names[-1 - by] if by < 0 else "input"
            self._place[by] = len(self._steps)
            self._steps.append(Step("input", label))
        return self._place[by]

    def _line(self, each: Applied) -> int:
        file, first, last = self._lines
        lines = [line for name, line in each.frames if name == file and first <= line <= last]
        return lines[-1] if lines else 0
