"""Twelve blocks at one, two and four spike steps: as many rows and boxes, whoever wrote the neuron.

The libraries are no dependency of ours. Their neurons are tried where Python finds them:

    pip install --no-deps --target /tmp/neurons spikingjelly snntorch loguru
    PYTHONPATH=/tmp/neurons DARKIT_TEST_REQUIRE=spikingjelly,snntorch python -m pytest tests/trace/test_steps.py
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import nn

from darkit_nb.nn.neuron import LIF
from darkit_nb.records.trace_flow import TraceFlow
from darkit_nb.spikify import spikify
from darkit_nb.trace import trace_flow, trace_model
from tests.conftest import need
from tests.evaluate.models import decoder
from tests.trace.models import StateNeuron, StepNeuron
from tests.trace.step_models import BLOCKS, StateBlocks, StepBlocks, WrittenBlocks

STEPS = (1, 2, 4)
IDS = torch.arange(24).view(2, 12) % 20
X = torch.rand(2, 8)


def spikingjelly_neuron() -> nn.Module:
    from spikingjelly.activation_based import neuron

    return neuron.LIFNode(step_mode="s")


def snntorch_neuron(**settings: Any) -> nn.Module:
    import snntorch

    return snntorch.Leaky(beta=0.9, **settings)


Make = Callable[[int], nn.Module]
WRITERS: dict[str, tuple[Make, str | None]] = {
    "own neurons": (lambda steps: StepBlocks(steps, StepNeuron), None),
    "own neurons, state passed": (lambda steps: StateBlocks(steps, StateNeuron), None),
    "SpikingJelly, step mode": (lambda steps: StepBlocks(steps, spikingjelly_neuron), "spikingjelly"),
    "snnTorch, state passed": (lambda steps: StateBlocks(steps, snntorch_neuron), "snntorch"),
    "snnTorch, state hidden": (
        lambda steps: StepBlocks(steps, partial(snntorch_neuron, init_hidden=True)),
        "snntorch",
    ),
}


def own_edges(flow: TraceFlow) -> dict[str, str]:
    """Labels of the edges from a box to itself, by path."""
    paths = {node.key: node.path for node in flow.nodes}
    return {paths[edge.source]: edge.label for edge in flow.edges if edge.source == edge.target}


def rows_of(make: Make, inputs: Any) -> int:
    """Rows of the tree, once they are found to be the same at every step count."""
    traces = [trace_model(make(steps), inputs) for steps in STEPS]
    assert [trace.problem for trace in traces] == [None] * 3
    assert len({tuple(node.path for node in trace.nodes) for trace in traces}) == 1
    return len(traces[0].nodes)


@pytest.mark.parametrize("origin", ["auto", "hooks"])
@pytest.mark.parametrize("writer", WRITERS)
def test_neurons_that_are_modules(writer: str, origin: Any):
    make, library = WRITERS[writer]
    if library is not None:
        need(
            library, find_spec(library) is not None, f"{library} is not installed; the docstring of this file says how"
        )
    rows = rows_of(make, X)
    assert rows >= 1 + 2 + 2 * BLOCKS
    trace = trace_model(make(4), X)
    assert {trace.node(f"neurons.{i}").calls for i in range(BLOCKS)} == {4}
    flows = [trace_flow(make(steps), X, origin=origin) for steps in STEPS]
    assert {flow.origin for flow in flows} == {"torch.export" if origin == "auto" else "hooks"}
    assert len({tuple(node.label for node in flow.nodes) for flow in flows}) == 1
    assert not own_edges(flows[0])
    for flow, steps in zip(flows[1:], STEPS[1:], strict=True):
        assert len([node for node in flow.nodes if node.kind == "module"]) == 2 * BLOCKS
        found = own_edges(flow)
        assert {f"neurons.{i}" for i in range(BLOCKS)} <= found.keys()
        assert not {f"layers.{i}" for i in range(BLOCKS)} & found.keys()
        assert {label.split()[-1] for label in found.values()} == {f"×{steps}"}


@pytest.mark.parametrize("origin", ["auto", "hooks"])
def test_neurons_that_are_written_out(origin: Any):
    assert rows_of(WrittenBlocks, X) == 1 + 1 + BLOCKS
    flows = [trace_flow(WrittenBlocks(steps), X, origin=origin) for steps in STEPS]
    assert len({tuple(node.label for node in flow.nodes) for flow in flows}) == 1
    back = [{(edge.source, edge.target): edge.calls for edge in flow.edges if edge.feedback} for flow in flows]
    assert [len(edges) for edges in back] == [0, BLOCKS, BLOCKS]  # one membrane a block, from its end to its begin
    assert set(back[2].values()) == {3}


@pytest.mark.parametrize("blocks", [2, pytest.param(BLOCKS, marks=pytest.mark.slow)])
def test_our_spiking_layers(blocks: int):
    models = [spikify(decoder(num_hidden_layers=blocks), num_steps=steps) for steps in STEPS]
    traces = [trace_model(model, IDS) for model in models]
    assert len({tuple(node.path for node in trace.nodes) for trace in traces}) == 1
    level = f"model.layers.{blocks - 1}.mlp"
    layers = [f"{level}.{name}_proj" for name in ("gate", "up", "down")]
    for origin in ("torch.export", "hooks"):
        flows = [trace_flow(model, IDS, level, origin=origin) for model in models]
        assert len({tuple(node.label for node in flow.nodes) for flow in flows}) == 1
        assert [own_edges(flow) for flow in flows] == [{}, dict.fromkeys(layers, "×2"), dict.fromkeys(layers, "×4")]


@pytest.mark.parametrize("origin", ["auto", "hooks"])
def test_our_temporal_neurons(origin: Any):
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.layer, self.second = LIF(), nn.Linear(8, 8), LIF()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.layer(self.first(x)[0]))[0]

    model = Two()
    flows = [trace_flow(model, torch.rand(steps, 2, 8), origin=origin) for steps in STEPS]
    assert len({tuple(node.label for node in flow.nodes) for flow in flows}) == 1
    assert [own_edges(flow) for flow in flows] == [{}, *({"first": f"×{s}", "second": f"×{s}"} for s in (2, 4))]
