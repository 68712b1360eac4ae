"""`tree`: a model as a tree of modules."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

from cyclopts import Parameter

from darkit_nb.records.trace import ModelTrace


def tree(
    model: str,
    /,
    *,
    depth: int | None = None,
    format: Annotated[Literal["text", "json", "html", "mermaid", "dot"], Parameter(alias="-f")] = "text",
    fold: bool = True,
    meta: Annotated[bool, Parameter(negative="")] = False,
    spikes: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    runs_dir: str = "runs",
) -> int:
    """Show a model as a tree: shapes, parameters, operations, and how every layer fires.

    Try:

        darkit-nb tree spike-llama-7b
        darkit-nb tree latest --spikes "def main():"
        darkit-nb tree latest --format html > model.html

    Args:
        model: A preset, the id, name or folder of a run (`latest` is the newest), a model folder, or a hub id.
        depth: Deepest level shown; all if not given.
        format: text, json, html (a page that needs nothing else), mermaid (for Markdown), or dot (for Graphviz).
        fold: Show identical blocks as one row.
        meta: Open the model without its weights: shapes and sizes only.
        spikes: Text to read while spikes are counted.
        runs_dir: Folder of runs.
    """
    from darkit_nb.trace.subject import trace_named

    trace = trace_named(model, meta=meta, text=spikes, runs_dir=runs_dir)
    if format == "json":
        print(trace.to_json(indent=1))
    elif format == "html":
        from darkit_nb.views.tree_html import tree_page

        sys.stdout.write(tree_page(trace, depth=depth, fold=fold))
    elif format in ("mermaid", "dot"):
        from darkit_nb.views import tree_graph

        write = tree_graph.tree_mermaid if format == "mermaid" else tree_graph.tree_dot
        sys.stdout.write(write(trace, depth=depth, fold=fold))
    else:
        _print(trace, depth, fold)
    return 0 if trace.problem is None else 1


def _print(trace: ModelTrace, depth: int | None, fold: bool) -> None:
    from rich.console import Console

    from darkit_nb.views.tree_text import TreeView

    view = TreeView(trace, depth, fold)
    if sys.stdout.isatty():
        Console(highlight=False).print(view)
    else:
        print(view.to_text())
