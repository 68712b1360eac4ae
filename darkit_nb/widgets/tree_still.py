"""A model tree that stays readable without a kernel: as deep as a page can hold."""

from __future__ import annotations

from darkit_nb.records.trace import ModelTrace
from darkit_nb.records.trace_compare import TraceComparison
from darkit_nb.views.tree_compare import TreeComparisonView
from darkit_nb.views.tree_rows import tree_rows
from darkit_nb.views.tree_text import TreeView


def still_view(shown: ModelTrace | TraceComparison, most: int) -> TreeView | TreeComparisonView:
    """The tree down to the deepest level at which it has at most so many rows; two levels at least."""
    trace = shown.merged if isinstance(shown, TraceComparison) else shown
    depths = [0] * (1 + max(node.depth for node in trace.nodes))
    for row in tree_rows(trace):
        depths[row.depth] += 1
    depth, rows = 0, depths[0]
    while depth + 1 < len(depths) and (depth < 1 or rows + depths[depth + 1] <= most):
        depth += 1
        rows += depths[depth]
    least = None if depth + 1 == len(depths) else depth
    return TreeView(shown, least) if isinstance(shown, ModelTrace) else TreeComparisonView(shown, least)
