"""The drawing of a dataflow: well-formed, complete, self-contained."""

from __future__ import annotations

import re
import time
from itertools import combinations
from xml.etree import ElementTree

from darkit_nb.records.trace_flow import FlowEdge, FlowNode, TraceFlow
from darkit_nb.views.flow_svg import MOST_NODES, flow_svg

NS = "{http://www.w3.org/2000/svg}"


def flow(*nodes: FlowNode, edges: tuple[FlowEdge, ...] = (), reason: str | None = None) -> TraceFlow:
    origin = "hooks" if reason else "torch.export"
    return TraceFlow(path="net", class_name="Net<T>", origin=origin, reason=reason, nodes=nodes, edges=edges)


STEPS = flow(
    FlowNode(key="x", kind="input", label="x"),
    FlowNode(key="lif", kind="module", label="lif", path="net.lif", class_name="LIF", calls=4),
    FlowNode(key="add", kind="operator", label="add", class_name="aten.add.Tensor", line=7, calls=4),
    FlowNode(key="y", kind="output", label="output"),
    edges=(
        FlowEdge(source="x", target="lif", shape=(2, 8), calls=4),
        FlowEdge(source="lif", target="lif", shape=(2, 8), calls=4),
        FlowEdge(source="lif", target="add", shape=(2, 8), calls=4),
        FlowEdge(source="add", target="y", shape=(2, 8)),
        FlowEdge(source="add", target="lif", shape=(2, 8), calls=3, feedback=True),
    ),
    reason="a < b",
)


def test_boxes_edges_and_labels():
    svg = flow_svg(STEPS)
    root = ElementTree.fromstring(svg)  # noqa: S314 - written by ourselves
    texts = [each.text for each in root.iter(f"{NS}text")]
    assert {"x", "lif ×4", "LIF", "add ×4", "output"} <= set(texts)
    assert texts.count("2×8 ×4") == 3
    assert "net (Net<T>), found by hooks: a < b" in texts
    lines = [each for each in root.iter(f"{NS}path") if each.get("marker-end")]
    assert len(lines) == 5
    assert len([each for each in lines if each.get("stroke-dasharray")]) == 1
    assert [each.text for each in root.iter(f"{NS}title")][1:3] == ["net.lif", "aten.add.Tensor, line 7"]


def test_it_needs_nothing_else():
    svg = flow_svg(STEPS)
    assert "<script" not in svg
    assert not re.search(r"href=|@import|url\((?!#)", svg)


def test_of_a_very_large_level_the_first_boxes_are_drawn_quickly():
    nodes = [FlowNode(key=f"n{place}", kind="operator", label="add") for place in range(1000)]
    edges = [FlowEdge(source=f"n{place // 3}", target=f"n{place}") for place in range(1, 1000)]
    start = time.process_time()
    svg = flow_svg(flow(*nodes, edges=tuple(edges)))
    assert time.process_time() - start < 5
    assert svg.count("<rect") == MOST_NODES
    assert "The first 300 of 1,000 boxes." in svg


def test_an_empty_level():
    ElementTree.fromstring(flow_svg(flow()))  # noqa: S314


def test_labels_do_not_lie_on_one_another():
    names = [f"n{place}" for place in range(6)]
    nodes = [FlowNode(key=name, kind="operator", label="add") for name in ["in", *names, "out"]]
    ways = [*(("in", name) for name in names), *((name, "out") for name in names)]
    shape = (128, 4096, 4096, 1024)
    edges = tuple(FlowEdge(source=source, target=target, shape=shape) for source, target in ways)
    found = re.findall(
        r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="middle" font-size="10.5"', flow_svg(flow(*nodes, edges=edges))
    )
    places = [(float(x), float(y)) for x, y in found]
    assert len(places) == 12
    width = len("128×4096×4096×1024") * 6.9
    close = [(a, b) for a, b in combinations(places, 2) if abs(a[0] - b[0]) < width and abs(a[1] - b[1]) < 10.9]
    assert not close
