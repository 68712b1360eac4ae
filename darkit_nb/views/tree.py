"""`dk.tree`: a traced model, or two compared ones, to look at."""

from __future__ import annotations

from typing import overload

from darkit_nb.records.trace import ModelTrace
from darkit_nb.records.trace_compare import TraceComparison
from darkit_nb.views.tree_columns import Heat
from darkit_nb.views.tree_compare import TreeComparisonView
from darkit_nb.views.tree_text import TreeView


@overload
def tree(trace: ModelTrace, *, depth: int | None = None, fold: bool = True, heat: Heat | None = None) -> TreeView: ...
@overload
def tree(
    trace: TraceComparison, *, depth: int | None = None, fold: bool = True, only_changed: bool = False
) -> TreeComparisonView: ...
def tree(
    trace: ModelTrace | TraceComparison,
    *,
    depth: int | None = None,
    fold: bool = True,
    heat: Heat | None = None,
    only_changed: bool = False,
) -> TreeView | TreeComparisonView:
    """A traced model to look at: text in a terminal, a tree that unfolds in a notebook.

        dk.tree(dk.trace_model(model, input_ids))
        dk.tree(dk.compare_traces(before, after), only_changed=True)

    Args:
        trace: from `trace_model`, or two of them from `compare_traces`.
        depth: deepest level shown; all by default.
        fold: identical blocks as one row.
        heat: quantity that colours the rows of a trace: energy, parameters, flops, firing or seconds.
        only_changed: of a comparison, leave out what is the same.
    """
    if isinstance(trace, TraceComparison):
        return TreeComparisonView(trace, depth, fold, only_changed)
    return TreeView(trace, depth, fold, heat)
