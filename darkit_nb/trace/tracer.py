"""`trace_model`: one forward, one record per module."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from darkit_nb.nn.gif import GIF
from darkit_nb.records.activity import LayerActivity
from darkit_nb.records.trace import ModelTrace
from darkit_nb.records.trace_node import SpikeFacts, TraceNode
from darkit_nb.spikify import spiking_modules
from darkit_nb.trace.facts import counted_facts, own_energy, stated_facts
from darkit_nb.trace.flops import counting_flops
from darkit_nb.trace.hooks import listening
from darkit_nb.trace.inputs import Arguments, arguments_of, device_of, fresh, token_count
from darkit_nb.trace.kinds import class_name_of, kind_of
from darkit_nb.trace.lazy import shaped
from darkit_nb.trace.meters import measure_memory, measure_seconds
from darkit_nb.trace.parameters import ParameterCount, count_parameters
from darkit_nb.trace.products import UnwatchedProducts
from darkit_nb.trace.source import source_of
from darkit_nb.trace.spikes import SpikeRecorder
from darkit_nb.trace.untouched import untouched
from darkit_nb.trace.watcher import Calls, CallWatcher


def trace_model(
    model: nn.Module, inputs: Any, *, tokenizer: Any = None, timing: bool = False, memory: bool = False
) -> ModelTrace:
    """Open a model: run it once and write down every module with its shapes, parameters, operations and spikes.

    The forward is one of evaluation, without gradients. Modes, buffers, membranes, listeners and random state are
    afterwards what they were. A model on the meta device is traced without weights; then no spike is counted. A
    forward that raises gives the trace up to there, with `problem` and the path of the module that `failed`.

    Args:
        model: any module.
        inputs: a tensor, a tuple of positional arguments, a mapping of named ones, a pair (tuple, mapping), or a text.
        tokenizer: of transformers, for a text.
        timing: also measure seconds, by further forwards.
        memory: also measure the memory of activations, by a further forward.

    Raises:
        ShapeError: there is no tensor in the inputs.
    """
    arguments = arguments_of(model, inputs, tokenizer)
    given, model = model, shaped(model, arguments)
    forward: Callable[[], object] = lambda: _run(model, fresh(arguments))  # noqa: E731
    device = device_of(model)
    spiking = device.type != "meta" and bool(spiking_modules(model))
    problem = failed = None
    seconds: dict[str, float] = {}
    sizes: dict[str, int] = {}
    with untouched(model) as stateful:
        with ExitStack() as stack:
            recorder = stack.enter_context(SpikeRecorder(model)) if spiking else None
            meter = stack.enter_context(counting_flops())
            watcher = CallWatcher(lambda: meter.total)
            products = UnwatchedProducts(meter)
            stack.enter_context(listening(model.named_modules(), products.enter, products.leave))
            stack.enter_context(listening(model.named_modules(), watcher.enter, watcher.leave))
            try:
                forward()
            except Exception as error:  # noqa: BLE001 - whatever a model raises is shown where it was raised
                problem, failed = _message(error), watcher.failed_in(error)
        layers = {layer.name: layer for layer in recorder.report().layers} if recorder else {}
        if problem is None:
            seconds = measure_seconds(model, forward, device) if timing and device.type != "meta" else {}
            sizes = measure_memory(model, forward) if memory else {}
    rows = TraceRows(model, watcher.calls, layers, stateful)
    nodes = rows.nodes(seconds, sizes, {} if problem is None else {failed: problem})
    notes = _notes(meter.answers, device.type, model, copied=model is not given)
    return ModelTrace(
        model=class_name_of(model),
        device=str(device),
        nodes=nodes,
        tokens=token_count(*arguments),
        problem=problem,
        failed=failed,
        notes=notes,
    )


def _run(model: nn.Module, arguments: Arguments) -> object:
    return model(*arguments[0], **arguments[1])


def _message(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _notes(answers: int, device: str, model: nn.Module, *, copied: bool) -> tuple[str, ...]:
    notes: list[str] = []
    if device == "meta":
        notes.append("Traced on the meta device: shapes and sizes without values.")
        if spiking_modules(model):
            notes.append("Spikes need values: firing rates and energy are not known here.")
    if answers:
        times = "once" if answers == 1 else f"{answers} times"
        notes.append(f"The forward asked {times} whether values fulfil a condition, and was answered yes.")
    if copied:
        notes.append("Lazy modules got their shapes in a copy; the model itself still waits for its first input.")
    scripted = sum(isinstance(module, torch.jit.ScriptModule) for module in model.modules())
    if scripted:
        notes.append(f"TorchScript runs {scripted} modules by itself: only calls from Python are seen.")
    return tuple(notes)


class TraceRows:
    """Puts together what was seen of each module."""

    def __init__(
        self, model: nn.Module, calls: dict[str, Calls], layers: dict[str, LayerActivity], stateful: set[int]
    ) -> None:
        self._modules = dict(model.named_modules())
        self._calls, self._layers, self._stateful = calls, layers, stateful
        self._parameters = count_parameters(model)
        self._aliases = _aliases(model, self._modules)

    def nodes(
        self, seconds: dict[str, float], sizes: dict[str, int], problems: dict[str | None, str]
    ) -> tuple[TraceNode, ...]:
        """One record a module, with what was measured and what went wrong, by dotted name."""
        flops, energy = self._totals()
        return tuple(
            self._node(
                path,
                module,
                flops=flops[path],
                own_energy_pj=self._energy(path, module),
                energy_pj=energy[path],
                seconds=seconds.get(path),
                memory_bytes=sizes.get(path),
                problem=problems.get(path),
            )
            for path, module in self._modules.items()
        )

    def _node(self, path: str, module: nn.Module, **measured: Any) -> TraceNode:
        calls, count = self._calls.get(path, _NEVER), self._parameters[path]
        source = source_of(type(module))
        return TraceNode(
            path=path,
            class_name=class_name_of(module),
            module=type(module).__module__,
            kind=kind_of(module) if path else "model",
            calls=calls.count,
            calls_per_parent=self._per_parent(path, calls.count),
            aliases=self._aliases.get(path, ()),
            inputs=calls.inputs,
            outputs=calls.outputs,
            shapes_vary=calls.shapes_vary,
            stateful=id(module) in self._stateful,
            file=source.file,
            line=source.line,
            end_line=source.end_line,
            forward_line=source.forward_line,
            signature=source.signature,
            own_flops=calls.own_flops,
            spikes=self._spikes(path, module, calls),
            **_sizes(count),
            **measured,
        )

    def _spikes(self, path: str, module: nn.Module, calls: Calls) -> SpikeFacts | None:
        if path in self._layers:
            return counted_facts(self._layers[path])
        return stated_facts(module) if isinstance(module, GIF) else calls.spikes

    def _energy(self, path: str, module: nn.Module) -> float | None:
        return own_energy(module, self._calls.get(path, _NEVER).own_flops // 2, self._layers.get(path))

    def _per_parent(self, path: str, count: int) -> int:
        """Calls in one call of the nearest module around that was called itself."""
        above = path
        while above:
            above = above.rpartition(".")[0]
            around = self._calls.get(above, _NEVER).count
            if around:
                return 0 if count % around else count // around
        return count

    def _totals(self) -> tuple[dict[str, int], dict[str, float | None]]:
        flops = {path: self._calls.get(path, _NEVER).own_flops for path in self._modules}
        energy = {path: self._energy(path, module) for path, module in self._modules.items()}
        for path in reversed(self._modules):
            if path:
                above = path.rpartition(".")[0]
                flops[above] += flops[path]
                own, held = energy[path], energy[above]
                energy[above] = None if own is None or held is None else own + held
        return flops, energy


_NEVER = Calls()


def _sizes(count: ParameterCount) -> dict[str, int]:
    return {
        "own_parameters": count.own,
        "parameters": count.total,
        "trainable": count.trainable,
        "tied": count.tied,
        "parameter_bytes": count.bytes,
        "buffer_bytes": count.buffer_bytes,
    }


def _aliases(model: nn.Module, modules: dict[str, nn.Module]) -> dict[str, tuple[str, ...]]:
    """Further names of modules that hang in the model more than once."""
    first = {id(module): path for path, module in modules.items()}
    found: dict[str, tuple[str, ...]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        if first[id(module)] != path:
            found[first[id(module)]] = (*found.get(first[id(module)], ()), path)
    return found
