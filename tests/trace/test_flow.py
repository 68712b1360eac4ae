"""The dataflow of a level: complete, folded over spike steps, and honest about how it was found."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from darkit_nb.errors import ModelError
from darkit_nb.records.trace_flow import TraceFlow
from darkit_nb.trace import trace_flow
from darkit_nb.trace.flow_fold import folded_positions
from tests.evaluate.models import decoder
from tests.trace.models import Broken, Loose, Shared, SmallResNet, StateLoop, StepMode, Unrolled

IDS = torch.arange(24).view(2, 12) % 20
IMAGE = torch.randn(1, 3, 32, 32)


def pairs(flow: TraceFlow) -> set[tuple[str, str]]:
    """Edges by what the boxes are called."""
    label = {node.key: node.label for node in flow.nodes}
    return {(label[edge.source], label[edge.target]) for edge in flow.edges}


@pytest.mark.parametrize("origin", ["auto", "hooks"])
@pytest.mark.parametrize("kind", [StepMode, StateLoop, Unrolled])
def test_steps_do_not_add_boxes(kind: Any, origin: Any):
    flows = [trace_flow(kind(steps), torch.rand(2, 6), origin=origin) for steps in (1, 2, 4)]
    assert len({len(flow.nodes) for flow in flows}) == 1
    (layer,) = [node for node in flows[2].nodes if node.label == "fc1"]
    assert layer.calls == 4
    folded = [edge for edge in flows[2].edges if edge.source == edge.target]
    assert folded
    assert all(edge.label.endswith("×4") for edge in folded)
    assert not [edge for edge in flows[0].edges if edge.source == edge.target]


@pytest.mark.parametrize("origin", ["auto", "hooks"])
def test_a_membrane_inside_a_neuron_is_an_edge_to_itself(origin: Any):
    model = StepMode(4)
    model(torch.rand(2, 6))
    flow = trace_flow(model, torch.rand(2, 6), origin=origin)
    assert {("lif1", "lif1"), ("lif2", "lif2")} < pairs(flow)
    assert ("fc1", "fc1") not in pairs(flow)


def test_a_membrane_that_is_handed_back_is_an_edge_to_itself():
    flow = trace_flow(StateLoop(4), torch.rand(2, 6))
    (own,) = [edge for edge in flow.edges if edge.source == edge.target == "module:lif1"]
    assert (flow.origin, own.shape, own.label) == ("torch.export", (2, 8), "2×8 ×4")


def test_a_written_out_membrane_goes_back_to_an_earlier_box():
    flow = trace_flow(Unrolled(4), torch.rand(2, 6))
    back = [edge for edge in flow.edges if edge.feedback]
    assert [(edge.shape, edge.calls) for edge in back] == [((2, 8), 3), ((2, 4), 3)]


def test_a_decoder_layer_is_drawn_as_it_is_known():
    flow = trace_flow(decoder("llama"), IDS, "model.layers.1")
    assert flow.origin == "torch.export"
    assert {
        ("hidden_states", "input_layernorm"),
        ("input_layernorm", "self_attn"),
        ("hidden_states", "add"),
        ("self_attn", "add"),
        ("post_attention_layernorm", "mlp"),
        ("mlp", "add"),
        ("add", "output"),
    } <= pairs(flow)
    assert ("input_layernorm", "add") not in pairs(flow)
    shapes = {edge.label for edge in flow.edges if edge.target == "module:model.layers.1.mlp"}
    assert shapes == {"2×12×24"}


def test_both_ways_agree():
    model = SmallResNet()
    drawn = [trace_flow(model, IMAGE, origin=origin) for origin in ("torch.export", "hooks")]
    assert [flow.origin for flow in drawn] == ["torch.export", "hooks"]
    assert pairs(drawn[0]) == pairs(drawn[1])


def test_a_container_shows_its_modules_and_what_enters_and_leaves():
    flow = trace_flow(decoder("llama"), IDS, "model.layers")
    kinds = {node.label: node.kind for node in flow.nodes}
    assert (kinds["0"], kinds["1"], kinds["embed_tokens"], kinds["norm"]) == ("module", "module", "input", "output")
    assert ("0", "1") in pairs(flow)


def test_what_export_cannot_do_is_looked_at_and_said():
    flow = trace_flow(Loose(), ((torch.randn(3, 4),), {"bias": torch.ones(4)}))
    assert flow.origin == "hooks"
    assert flow.reason is not None
    assert flow.reason.startswith("torch.export: ")
    assert {("a", "b"), ("a", "linear"), ("b", "output scores")} <= pairs(flow)


def test_a_large_level_is_looked_at():
    model = nn.Sequential(*[nn.Identity() for _ in range(120)], nn.Linear(2, 2))
    flow = trace_flow(model, torch.ones(1, 2))
    assert flow.origin == "hooks"
    assert flow.reason is not None
    assert "122 modules" in flow.reason
    assert len(flow.nodes) == 123


def test_a_failing_forward_is_drawn_as_far_as_it_got():
    flow = trace_flow(Broken(), torch.randn(2, 4), "body")
    assert [node.label for node in flow.nodes] == ["input", "0", "1", "2"]
    assert flow.reason is not None
    assert "the forward failed: RuntimeError" in flow.reason


@pytest.mark.parametrize(("path", "said"), [("idle", "does not call it"), ("nothing", "no such module")])
def test_what_cannot_be_drawn(path: str, said: str):
    with pytest.raises(ModelError, match=said):
        trace_flow(Shared(), torch.randn(2, 4), path)


@pytest.mark.parametrize("origin", ["auto", "hooks"])
def test_the_model_is_left_as_it_was(origin: Any):
    model = StepMode(2).train()
    model(torch.rand(2, 6))
    membrane, content = model.lif1.v, model.lif1.v.clone()
    weight = model.fc1.weight.clone()
    trace_flow(model, torch.rand(2, 6), origin=origin)
    assert model.lif1.v is membrane
    assert torch.equal(membrane, content)
    assert torch.equal(weight, model.fc1.weight)
    assert model.training
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in model.modules())


def test_a_shape_without_weights():
    flow = trace_flow(decoder("llama").to("meta"), IDS, "model.layers.0.mlp")
    assert flow.origin == "torch.export"
    assert ("gate_proj", "act_fn") in pairs(flow)


@pytest.mark.parametrize(
    ("tokens", "turns"),
    [
        ("", []),
        ("abc", [[0], [1], [2]]),
        ("abcabcabc", [[0, 3, 6], [1, 4, 7], [2, 5, 8]]),
        ("zabcabc", [[0], [1, 4], [2, 5], [3, 6]]),
        ("aabaab", [[0, 3], [1, 4], [2, 5]]),
        ("acabcabc", [[0, 2, 5], [1, 4, 7], [3, 6]]),
    ],
)
def test_turns_of_a_loop_are_found(tokens: str, turns: list[list[int]]):
    positions = folded_positions(tokens)
    groups: dict[int, list[int]] = {}
    for place, position in enumerate(positions):
        groups.setdefault(position, []).append(place)
    assert sorted(groups.values()) == sorted(turns)
