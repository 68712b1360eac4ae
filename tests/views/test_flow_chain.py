"""Chains of identical blocks are one box of the drawing, and only they."""

from __future__ import annotations

import pytest

from darkit_nb.records.trace_flow import FlowEdge, FlowNode, TraceFlow
from darkit_nb.views.flow_chain import chained
from darkit_nb.views.flow_svg import flow_svg


def blocks(count: int, *, odd: int | None = None, extra: int | None = None) -> TraceFlow:
    """An input through some blocks to a norm; a mask goes into each. One may be of another class, one take more."""
    nodes = [FlowNode(key="x", kind="input", label="x"), FlowNode(key="mask", kind="operator", label="mask")]
    edges = []
    before = "x"
    for at in range(count):
        kind = "Other" if at == odd else "Block"
        nodes.append(FlowNode(key=f"b{at}", kind="module", label=str(at), path=f"model.layers.{at}", class_name=kind))
        edges += [FlowEdge(source=before, target=f"b{at}", shape=(1, 8)), FlowEdge(source="mask", target=f"b{at}")]
        if at == extra:
            edges.append(FlowEdge(source="x", target=f"b{at}"))
        before = f"b{at}"
    nodes.append(FlowNode(key="norm", kind="module", label="norm", path="model.norm", class_name="Norm"))
    edges.append(FlowEdge(source=before, target="norm", shape=(1, 8)))
    return TraceFlow(path="model", class_name="M", origin="hooks", reason=None, nodes=tuple(nodes), edges=tuple(edges))


def test_thirty_blocks_are_one_box_with_an_edge_to_itself():
    flow = chained(blocks(30))
    assert [(node.key, node.label, node.calls) for node in flow.nodes] == [
        ("x", "x", 1),
        ("mask", "mask", 1),
        ("b0", "0 … 29", 30),
        ("norm", "norm", 1),
    ]
    assert {(edge.source, edge.target): edge.calls for edge in flow.edges} == {
        ("x", "b0"): 1,
        ("mask", "b0"): 30,
        ("b0", "b0"): 29,
        ("b0", "norm"): 1,
    }
    svg = flow_svg(blocks(30))
    assert "0 … 29 ×30" in svg
    assert len(svg) < 5000


@pytest.mark.parametrize(
    ("flow", "labels"),
    [
        (blocks(3), ["0", "1", "2"]),
        (blocks(9, odd=4), ["0 … 3", "4", "5 … 8"]),
        (blocks(9, extra=4), ["0 … 3", "4 … 8"]),
        (blocks(6, odd=2), ["0", "1", "2", "3", "4", "5"]),
    ],
)
def test_what_differs_is_drawn_by_itself(flow: TraceFlow, labels: list[str]):
    assert [node.label for node in chained(flow).nodes if node.path.startswith("model.layers")] == labels


def test_a_drawing_without_blocks_is_the_same():
    flow = blocks(2)
    assert chained(flow) is flow
