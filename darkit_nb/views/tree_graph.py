"""A model tree for other programs: Mermaid for Markdown pages, DOT for Graphviz."""

from __future__ import annotations

from darkit_nb.records.trace import ModelTrace
from darkit_nb.views.tree_columns import calls_mark, output_shape, spike_code
from darkit_nb.views.tree_rows import TreeRow, tree_rows


def tree_mermaid(trace: ModelTrace, *, depth: int | None = None, fold: bool = True) -> str:
    """A Mermaid flowchart. GitHub draws at most some hundred boxes: give a depth for large models."""
    lines = ["flowchart LR"]
    for place, row in enumerate(tree_rows(trace, depth=depth, fold=fold)):
        label = "<br/>".join(_mermaid(text) for text in _label(row))
        lines.append(f'  n{place}["{label}"]{_style(row)}')
        if row.parent >= 0:
            lines.append(f"  n{row.parent} --> n{place}")
    lines += ["  classDef spiking stroke:#8a5cf0,stroke-width:2px", "  classDef failed stroke:#e5484d,stroke-width:3px"]
    return "\n".join(lines) + "\n"


def tree_dot(trace: ModelTrace, *, depth: int | None = None, fold: bool = True) -> str:
    """A graph in the DOT language."""
    lines = [f"digraph {_quoted(trace.model)} {{", "  rankdir=LR;", '  node [shape=box, fontname="sans-serif"];']
    for place, row in enumerate(tree_rows(trace, depth=depth, fold=fold)):
        colour = {":::failed": ", color=red, penwidth=3", ":::spiking": ", color=purple"}.get(_style(row), "")
        text = "\\n".join(_quoted(text)[1:-1] for text in _label(row))
        lines.append(f'  n{place} [label="{text}"{colour}];')
        if row.parent >= 0:
            lines.append(f"  n{row.parent} -> n{place};")
    return "\n".join([*lines, "}"]) + "\n"


def _label(row: TreeRow) -> list[str]:
    repeat = f"×{row.repeat}" if row.repeat > 1 else ""
    first = " ".join(part for part in (row.name, repeat, calls_mark(row)) if part)
    second = row.node.class_name if row.depth else ""
    return [part for part in (first, second, output_shape(row), spike_code(row)) if part]


def _style(row: TreeRow) -> str:
    if row.problem:
        return ":::failed"
    return ":::spiking" if row.node.kind in ("spiking", "neuron") else ""


def _mermaid(text: str) -> str:
    """Text inside a quoted Mermaid label, whose escapes are numbers of characters."""
    return "".join(letter if letter.isalnum() or letter in " ._-×…" else f"#{ord(letter)};" for letter in text)


def _quoted(text: str) -> str:
    plain = "".join(" " if letter in "\n\r" else letter for letter in text)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
