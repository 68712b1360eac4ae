"""Identical blocks of a dataflow that follow one another, as one box: thirty of them say no more than one."""

from __future__ import annotations

from dataclasses import replace

from darkit_nb.records.trace_flow import FlowEdge, FlowNode, TraceFlow

FEWEST = 4
"""Blocks that are drawn one by one below that."""


def chained(flow: TraceFlow) -> TraceFlow:
    """The dataflow with one box for each chain of identical blocks, called "0 … 29" and marked with their number.

    A chain is of modules of one class in one list, each of which takes what the one before it gives, and otherwise the
    same as its neighbours. What one hands to the next is an edge to itself, as of steps.
    """
    into: dict[str, set[str]] = {node.key: set() for node in flow.nodes}
    for edge in flow.edges:
        into[edge.target].add(edge.source)
    stands: dict[str, str] = {}
    boxes: dict[str, FlowNode] = {}
    for chain in _chains(flow.nodes, into):
        first, last = chain[0], chain[-1]
        stands |= {node.key: first.key for node in chain}
        boxes[first.key] = replace(first, label=f"{first.label} … {last.label}", calls=len(chain) * first.calls)
    if not boxes:
        return flow
    nodes = tuple(boxes.get(node.key, node) for node in flow.nodes if stands.get(node.key, node.key) == node.key)
    return replace(flow, nodes=nodes, edges=_edges(flow, stands))


def _chains(nodes: tuple[FlowNode, ...], into: dict[str, set[str]]) -> list[list[FlowNode]]:
    found: list[list[FlowNode]] = []
    blocks = [node for node in nodes if node.kind == "module" and node.label.isdigit()]
    for node in blocks:
        if found and _follows(found[-1], node, into):
            found[-1].append(node)
        else:
            found.append([node])
    return [chain for chain in found if len(chain) >= FEWEST]


def _follows(chain: list[FlowNode], node: FlowNode, into: dict[str, set[str]]) -> bool:
    before = chain[-1]
    one_list = before.path.rpartition(".")[0] == node.path.rpartition(".")[0]
    alike = (before.class_name, before.calls, before.stateful) == (node.class_name, node.calls, node.stateful)
    if not one_list or not alike or int(node.label) != int(before.label) + 1 or before.key not in into[node.key]:
        return False
    inside = {each.key for each in chain}
    others = into[node.key] - {before.key}
    # The first block may take something that the others do not, as the embedding in place of a block before it.
    return not others & inside and (len(chain) == 1 or others == into[before.key] - inside)


def _edges(flow: TraceFlow, stands: dict[str, str]) -> tuple[FlowEdge, ...]:
    found: dict[tuple[str, str], FlowEdge] = {}
    for edge in flow.edges:
        pair = stands.get(edge.source, edge.source), stands.get(edge.target, edge.target)
        before = found.get(pair)
        calls = edge.calls if before is None else before.calls + edge.calls
        found[pair] = replace(before or edge, source=pair[0], target=pair[1], calls=calls)
    return tuple(found.values())
