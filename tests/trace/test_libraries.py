"""Twelve blocks of other libraries' neurons, where those are installed: as many rows and boxes at every step count."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from torch import Tensor, nn

from darkit_nb.trace import trace_flow, trace_model
from tests.conftest import need

BLOCKS = 12


class Loop(nn.Module):
    """Runs a network once a step, as their tutorials do."""

    def __init__(self, net: nn.Module, steps: int) -> None:
        super().__init__()
        self.net, self.steps = net, steps

    def forward(self, x: Tensor) -> Tensor:
        total = self.net(x)
        for _ in range(self.steps - 1):
            total = total + self.net(x)
        return total / self.steps


def spikingjelly_net() -> nn.Module:
    from spikingjelly.activation_based import neuron

    return nn.Sequential(*[nn.Sequential(nn.Linear(8, 8), neuron.LIFNode(step_mode="s")) for _ in range(BLOCKS)])


def snntorch_net() -> nn.Module:
    import snntorch

    blocks = [nn.Sequential(nn.Linear(8, 8), snntorch.Leaky(beta=0.9, init_hidden=True)) for _ in range(BLOCKS)]
    return nn.Sequential(*blocks)


@pytest.mark.parametrize("library", ["spikingjelly", "snntorch"])
def test_steps_add_neither_rows_nor_boxes(library: str):
    need(library, find_spec(library) is not None, f"{library} is not installed")
    net = spikingjelly_net if library == "spikingjelly" else snntorch_net
    x = torch.rand(2, 8)
    traces = [trace_model(Loop(net(), steps), x) for steps in (1, 2, 4)]
    assert [trace.problem for trace in traces] == [None] * 3
    assert len({len(trace.nodes) for trace in traces}) == 1
    neurons = [node for node in traces[2].nodes if node.kind == "neuron"]
    assert len(neurons) == BLOCKS
    assert {(node.calls, node.stateful) for node in neurons} == {(4, True)}
    for origin in ("auto", "hooks"):
        flows = [trace_flow(Loop(net(), steps), x, origin=origin) for steps in (2, 4)]
        assert len({len(flow.nodes) for flow in flows}) == 1
    block = trace_flow(Loop(net(), 4), x, "net")
    assert len([node for node in block.nodes if node.kind == "module"]) == BLOCKS
