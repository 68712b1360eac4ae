"""`tree`: a model as a tree of modules, or two of them compared."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from darkit_nb.errors import ConfigError
from darkit_nb.records.trace import ModelTrace
from darkit_nb.records.trace_compare import TraceComparison

LIVE_SECONDS = 600.0
"""How long an answer is waited for; a trainer may be in a long step or evaluation."""

Format = Literal["text", "json", "html", "mermaid", "dot"]


def tree(
    model: str,
    /,
    *,
    compare: str | None = None,
    only_changed: Annotated[bool, Parameter(negative="")] = False,
    depth: int | None = None,
    format: Annotated[Format, Parameter(alias="-f")] = "text",
    fold: bool = True,
    meta: Annotated[bool, Parameter(negative="")] = False,
    spikes: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    timing: Annotated[bool, Parameter(negative="")] = False,
    memory: Annotated[bool, Parameter(negative="")] = False,
    live: Annotated[bool, Parameter(negative="")] = False,
    runs_dir: str = "runs",
) -> int:
    """Show a model as a tree: shapes, parameters, operations, and how every layer fires.

    Try:

        darkit-nb tree spike-llama-7b
        darkit-nb tree latest --spikes "def main():"
        darkit-nb tree latest --format html > model.html
        darkit-nb tree float:latest --compare latest --only-changed

    Args:
        model: A preset, the id, name or folder of a run (`latest` is the newest), a model folder, a hub id, or a trace
            saved with --format json. `float:` before a name opens the model with its float layers.
        compare: Another model; differences from the first one to this one are marked.
        only_changed: Leave out what is the same in both.
        depth: Deepest level shown; all if not given.
        format: text, json, html (a page that needs nothing else), mermaid (for Markdown), or dot (for Graphviz).
        fold: Show identical blocks as one row.
        meta: Open the model without its weights: shapes and sizes only.
        spikes: Text to read while spikes are counted.
        timing: Also measure the seconds of every module, where there are weights.
        memory: Also measure the memory of every module's activations.
        live: Of runs: ask the process that trains one, between two steps, instead of loading its last checkpoint.
        runs_dir: Folder of runs.
    """
    _check(compare, only_changed, format, meta and live)
    options = {"live": live, "meta": meta, "text": spikes, "timing": timing, "memory": memory, "runs_dir": runs_dir}
    trace = _opened(model, **options)
    if compare is None:
        _show(trace, depth, format, fold)
        return 0 if trace.problem is None else 1
    from darkit_nb.records.trace_compare import compare_traces

    other = _opened(compare, **options)
    _show_comparison(compare_traces(trace, other), depth, format, fold, only_changed)
    return 0 if trace.problem is None and other.problem is None else 1


def _opened(name: str, *, live: bool, meta: bool, runs_dir: str, **options: Any) -> ModelTrace:
    if live:
        from darkit_nb.runs import open_run

        return open_run(name, runs_dir).trace(**options).wait(LIVE_SECONDS).trace()
    from darkit_nb.trace.subject import trace_named

    return trace_named(name, meta=meta, runs_dir=runs_dir, **options)


def _check(compare: str | None, only_changed: bool, format: Format, weightless: bool) -> None:
    if weightless:
        raise ConfigError(
            "A run that answers has weights.", expected="--live or --meta", received="both", fix="leave out one of them"
        )
    if compare is None and only_changed:
        raise ConfigError(
            "Only a comparison has changes.",
            expected="two models",
            received="--only-changed without --compare",
            fix="darkit-nb tree MODEL --compare OTHER --only-changed",
        )
    if compare is not None and format in ("mermaid", "dot"):
        raise ConfigError(
            "A comparison cannot be drawn in this format.", expected="text, html or json", received=f"--format {format}"
        )


def _show(trace: ModelTrace, depth: int | None, format: Format, fold: bool) -> None:
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
        from darkit_nb.views.tree import tree as view

        _print(view(trace, depth=depth, fold=fold))


def _show_comparison(
    comparison: TraceComparison, depth: int | None, format: Format, fold: bool, only_changed: bool
) -> None:
    if format == "json":
        from darkit_nb.records.trace_compare import to_wire

        traces = {"before": comparison.before.to_dict(), "after": comparison.after.to_dict()}
        print(json.dumps({"comparison": to_wire(comparison), **traces}, indent=1, ensure_ascii=False))
    elif format == "html":
        from darkit_nb.views.tree_compare_html import comparison_page

        sys.stdout.write(comparison_page(comparison, depth=depth, fold=fold, only_changed=only_changed))
    else:
        from darkit_nb.views.tree import tree as view

        _print(view(comparison, depth=depth, fold=fold, only_changed=only_changed))


def _print(view: object) -> None:
    if sys.stdout.isatty():
        from rich.console import Console

        Console(highlight=False).print(view)
    else:
        print(view)
