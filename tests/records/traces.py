"""Traces that the tests of records and views share."""

from __future__ import annotations

from darkit_nb.records.trace import ModelTrace
from darkit_nb.records.trace_node import SpikeFacts, TensorSpec, TraceNode


def spikes(active: int, slots: int, additions: int) -> SpikeFacts:
    return SpikeFacts(
        num_levels=16,
        num_steps=2,
        coding="rate",
        weight_bits=4,
        salient_fraction=0.1,
        slots=slots,
        active_slots=active,
        pairs=slots,
        silent=slots - active,
        ac_unary=additions,
        histogram=(slots - active, active),
    )


def node(path: str, class_name: str, **more: object) -> TraceNode:
    kind = "linear" if class_name == "Linear" else "spiking" if class_name == "SpikeLinear" else "block"
    shape = (TensorSpec("x", (1, 8), "float32"),)
    own = {"module": "own", "kind": kind, "calls": 1, "calls_per_parent": 1, "inputs": shape, "outputs": shape} | more
    return TraceNode(path=path, class_name=class_name, **own)


def small_trace(problem: str | None = None) -> ModelTrace:
    """A model of two spiking layers, one with <markup> in its class name, and a head that failed if told so."""
    facts = {"parameters": 64, "own_parameters": 64, "flops": 128, "own_flops": 128, "energy_pj": 7.5}
    return ModelTrace(
        model="Net",
        device="cpu",
        nodes=(
            node("", "Net", kind="model", parameters=192, flops=384, energy_pj=22.5, file="net.py", line=3, end_line=9),
            node(
                "body", "Body<T>", parameters=128, flops=256, energy_pj=15.0, stateful=True, calls=4, calls_per_parent=4
            ),
            node("body.up", "SpikeLinear", spikes=spikes(4, 10, 20), trainable=64, **facts),
            node("body.down", "SpikeLinear", spikes=spikes(9, 20, 30), seconds=0.5, memory_bytes=12, **facts),
            node("head", "Linear", aliases=("tied",), tied=64, shapes_vary=True, problem=problem, **facts),
        ),
        tokens=8,
        problem=problem,
        failed="head" if problem else None,
        notes=("Seen once.",),
    )


def large_trace(rows: int) -> ModelTrace:
    """Blocks of nine modules each, `rows` in all."""
    nodes = [node("", "Large", kind="model"), node("layers", "ModuleList", kind="container", calls=0)]
    facts = {"own_parameters": 64, "parameters": 64, "own_flops": 128, "flops": 128, "energy_pj": 7.5}
    while len(nodes) < rows:
        block = f"layers.{(len(nodes) - 2) // 10}"
        nodes.append(node(block, "Block", parameters=576, flops=1152, energy_pj=67.5))
        nodes += [
            node(f"{block}.part{part}", "SpikeLinear", spikes=spikes(part, 10, part), **facts) for part in range(9)
        ]
    return ModelTrace(model="Large", device="meta", nodes=tuple(nodes[:rows]))
