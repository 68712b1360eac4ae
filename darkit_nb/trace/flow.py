"""`trace_flow`: what happens inside one module, drawn from `torch.export`, or from looking on where that fails."""

from __future__ import annotations

import inspect
from typing import Any, Literal

import torch
from torch import nn

from darkit_nb.errors import ModelError
from darkit_nb.nn.gif import GIF
from darkit_nb.nn.neuron import TemporalNeuron
from darkit_nb.records.trace_flow import FlowNode, FlowOrigin, TraceFlow
from darkit_nb.trace.flops import MetaAnswers
from darkit_nb.trace.flow_export import export_graph, level_steps
from darkit_nb.trace.flow_fold import Drawing, Step, fold
from darkit_nb.trace.flow_hooks import Finished, FlowLooker
from darkit_nb.trace.hooks import listening
from darkit_nb.trace.inputs import Arguments, arguments_of, fresh
from darkit_nb.trace.kinds import class_name_of, is_container
from darkit_nb.trace.lazy import shaped
from darkit_nb.trace.untouched import untouched

MOST_MODULES = 100
"""Modules of a level that torch.export goes through in a few seconds; above it the level is looked at instead."""


def trace_flow(
    model: nn.Module,
    inputs: Any,
    path: str = "",
    *,
    tokenizer: Any = None,
    origin: FlowOrigin | Literal["auto"] = "auto",
) -> TraceFlow:
    """The dataflow among the submodules of one module, operators included; repeated spike steps are one box.

    Args:
        model: any module.
        inputs: of the whole model, as for `trace_model`.
        path: dotted name of the module to look into; of a container, its modules as the module around it calls them.
        tokenizer: of transformers, for a text.
        origin: auto takes torch.export, and hooks where that fails or would take long.

    Raises:
        ModelError: no such module, one that never ran, or one that TorchScript runs.
        ShapeError: there is no tensor in the inputs.
    """
    if path not in dict(model.named_modules(remove_duplicate=False)):
        raise ModelError("This model has no such module.", expected="a name of named_modules()", received=repr(path))
    arguments = arguments_of(model, inputs, tokenizer)
    model = shaped(model, arguments)
    modules = dict(model.named_modules(remove_duplicate=False))
    if path and is_container(modules[path]):
        around = path.rpartition(".")[0]
        return _only(trace_flow(model, inputs, around, tokenizer=tokenizer, origin=origin), path, modules[path])
    level = modules[path]
    if isinstance(level, torch.jit.ScriptModule):
        raise ModelError(
            f"TorchScript runs {path or class_name_of(level)} by itself, so what flows in it is not seen.",
            expected="a module that runs in Python",
            received=type(level).__name__,
            fix="trace the module it was made from",
        )
    reason, steps = None, None
    size = sum(1 for _ in level.modules())
    if origin == "auto" and size > MOST_MODULES:
        reason = f"torch.export would take long to go through its {size:,} modules"
    elif origin != "hooks":
        steps, reason = _by_export(model, arguments, path)
    lines = forward_lines(level)
    if steps is not None:
        drawing = fold(steps, lines[0], spike_steps=_spike_steps(modules, steps))
        return _flow(path, level, "torch.export", None, drawing)
    steps, stateful, problem = _by_hooks(model, arguments, path)
    drawing = fold(steps, lines[0], stateful, _spike_steps(modules, steps))
    reason = "; ".join(each for each in (reason or "asked for", problem) if each)
    return _flow(path, level, "hooks", reason, drawing)


def forward_lines(module: nn.Module) -> tuple[str, int, int]:
    """File, first and last line of the forward of a module."""
    code = getattr(inspect.unwrap(type(module).forward), "__code__", None)
    if code is None:
        return "", 0, 0
    lines = [line for _, _, line in code.co_lines() if line]
    return code.co_filename, code.co_firstlineno, max(lines, default=code.co_firstlineno)


def _spike_steps(modules: dict[str, nn.Module], steps: list[Step]) -> dict[str, int]:
    """S of every neuron of ours among some steps: it goes through all its spike steps in one call."""
    found: dict[str, int] = {}
    for step in steps:
        module = modules.get(step.path) if step.kind == "module" else None
        if isinstance(module, GIF) and module.mask is not None:
            found[step.path] = module.spec.num_steps
        elif isinstance(module, TemporalNeuron) and step.inputs and (spec := step.inputs[0][1]) and spec.shape:
            found[step.path] = spec.shape[0]
    return found


def recorded_arguments(model: nn.Module, arguments: Arguments, path: str) -> Arguments:
    """What the module at `path` is called with first in one forward of the model.

    Raises:
        ModelError: it is not called.
    """
    if not path:
        return arguments
    seen: list[Arguments] = []

    def look(name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append((args, kwargs))
        raise Finished

    with listening([(path, model.get_submodule(path))], look, lambda *_: None):
        try:
            model(*arguments[0], **arguments[1])
        except Finished:
            return seen[0]
        except Exception as error:
            raise _never_ran(path, f"the forward failed before it: {type(error).__name__}: {error}") from error
    raise _never_ran(path, "the forward of the model does not call it")


def _never_ran(path: str, cause: str) -> ModelError:
    return ModelError(
        f"{path} did not run, so nothing flows in it.",
        expected="a module that the forward calls",
        received=path,
        cause=cause,
        fix="open the module around it",
    )


def _by_export(model: nn.Module, arguments: Arguments, path: str) -> tuple[list[Step] | None, str | None]:
    level = model.get_submodule(path)
    with untouched(model), MetaAnswers():
        own = recorded_arguments(model, fresh(arguments), path)
    with untouched(model):
        try:
            exported = export_graph(level, own)
        except Exception as error:  # noqa: BLE001 - torch.export fails in many ways, and each is a reason to show
            text = str(error).strip().splitlines() or [""]
            return None, f"torch.export: {type(error).__name__}: {text[0]}"
    classes = {name: class_name_of(module) for name, module in model.named_modules(remove_duplicate=False)}
    return level_steps(exported, "", path, classes, forward_lines(level)), None


def _by_hooks(model: nn.Module, arguments: Arguments, path: str) -> tuple[list[Step], frozenset[str], str | None]:
    problem = None
    with untouched(model) as changed:
        looker = FlowLooker(model, path, forward_lines(model.get_submodule(path)))
        own = fresh(arguments)
        try:
            with listening(looker.modules, looker.before, looker.after), looker, MetaAnswers():
                model(*own[0], **own[1])
        except Finished:
            pass
        except Exception as error:  # noqa: BLE001 - what ran is drawn, and what stopped it is said
            problem = f"the forward failed: {type(error).__name__}: {error}"
    if not looker.steps:
        raise _never_ran(path, problem or "the forward of the model does not call it")
    stateful = frozenset(name for name, module in model.named_modules() if id(module) in changed)
    return looker.steps, stateful, problem


def _only(flow: TraceFlow, path: str, container: nn.Module) -> TraceFlow:
    """The modules of a container in the dataflow around it, with what enters and leaves them."""
    inside = {node.key for node in flow.nodes if node.path.startswith(f"{path}.")}
    ends = {edge.source for edge in flow.edges if edge.target in inside} - inside
    exits = {edge.target for edge in flow.edges if edge.source in inside} - inside
    nodes: list[FlowNode] = []
    for node in flow.nodes:
        if node.key in inside:
            nodes.append(node)
        elif node.key in ends or node.key in exits:
            kind = "input" if node.key in ends else "output"
            nodes.append(FlowNode(key=node.key, kind=kind, label=node.label))
    edges = tuple(edge for edge in flow.edges if edge.source in inside or edge.target in inside)
    return _flow(path, container, flow.origin, flow.reason, (tuple(nodes), edges))


def _flow(path: str, level: nn.Module, origin: FlowOrigin, reason: str | None, drawing: Drawing) -> TraceFlow:
    nodes, edges = drawing
    return TraceFlow(path=path, class_name=class_name_of(level), origin=origin, reason=reason, nodes=nodes, edges=edges)
