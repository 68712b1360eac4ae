"""Records of a trace: round trips, the tree they make, and sums over it."""

from __future__ import annotations

import json

import pytest

from darkit_nb.errors import ModelError
from darkit_nb.records.trace import ModelTrace
from darkit_nb.records.trace_flow import FlowEdge, FlowNode, TraceFlow
from darkit_nb.records.trace_node import SpikeFacts, TensorSpec, TraceNode
from darkit_nb.records.trace_wire import from_wire, to_wire
from tests.records.traces import large_trace, small_trace


def test_a_trace_survives_json():
    trace = small_trace()
    assert ModelTrace.from_json(trace.to_json()) == trace


def test_a_trace_survives_the_wire():
    for trace in (small_trace(), large_trace(2000)):
        assert from_wire(json.loads(json.dumps(to_wire(trace)))) == trace


def test_what_a_newer_version_added_is_ignored_and_what_it_changed_is_refused():
    data = small_trace().to_dict()
    data["nodes"][0]["colour"] = "red"
    data["weather"] = "fine"
    assert ModelTrace.from_dict(data) == small_trace()
    with pytest.raises(ModelError, match="newer version"):
        ModelTrace.from_dict(data | {"schema": 2})
    with pytest.raises(ModelError, match="newer version"):
        from_wire(to_wire(small_trace()) | {"schema": 2})


def test_default_values_take_no_room():
    plain = TraceNode(path="a", class_name="Linear", module="torch.nn", kind="linear").to_dict()
    assert plain == {"path": "a", "class_name": "Linear", "module": "torch.nn", "kind": "linear"}


def test_the_tree():
    trace = small_trace()
    paths = [node.path for node in trace.nodes]
    assert [paths[parent] if parent >= 0 else None for parent in trace.parents] == [None, "", "body", "body", ""]
    assert trace.ends == (5, 4, 3, 4, 5)
    assert [paths[row] for row in trace.children(0)] == ["body", "head"]
    assert [node.depth for node in trace.nodes] == [0, 1, 2, 2, 1]
    assert (trace.root.name, trace.node("body.up").name, trace.node("tied")) == ("Net", "up", trace.node("head"))


def test_sums_over_a_subtree():
    trace = small_trace()
    assert [trace.spike_total(row, "ac_unary") for row in range(5)] == [50, 50, 20, 30, 0]
    assert trace.firing_rate(1) == (4 + 9) / (10 + 20)
    assert trace.firing_rate(4) is None


def test_facts_of_spikes():
    facts = SpikeFacts(num_levels=4, num_steps=2, coding="rate", slots=8, active_slots=2, pairs=4, silent=3)
    assert (facts.firing_rate, facts.silent_share) == (0.25, 0.75)
    assert SpikeFacts(num_levels=4, num_steps=2, coding="rate").firing_rate is None


def test_a_tensor_reads_well():
    assert str(TensorSpec("x", (2, 8), "float32")) == "[2, 8] float32"


def test_a_dataflow_survives_json():
    nodes = (
        FlowNode(key="a", kind="module", label="fc", path="fc", calls=4),
        FlowNode(key="b", kind="output", label="y"),
    )
    edges = (FlowEdge(source="a", target="a", calls=4), FlowEdge(source="a", target="b", shape=(2, 3), dtype="float32"))
    flow = TraceFlow(path="", class_name="Net", origin="hooks", reason="asked for", nodes=nodes, edges=edges)
    assert TraceFlow.from_dict(json.loads(json.dumps(flow.to_dict()))) == flow
    assert [edge.label for edge in edges] == ["×4", "2×3"]


def test_twenty_thousand_rows_stay_small():
    wire = json.dumps(to_wire(large_trace(20_000)), separators=(",", ":"))
    assert len(wire) < 4_000_000
