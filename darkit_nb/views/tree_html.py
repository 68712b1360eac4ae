"""A model tree as HTML that needs nothing else: `<details>` fold it, colours come from the page around it."""

from __future__ import annotations

import html

from darkit_nb.records.trace import ModelTrace
from darkit_nb.views.tree_columns import (
    Column,
    Heat,
    calls_mark,
    columns_of,
    headline,
    heat_column,
    notes_of,
    row_title,
)
from darkit_nb.views.tree_rows import TreeRow, tree_rows

OPEN_DEPTH = 2
"""Levels that are unfolded at first."""

STYLE = """
.dk-tree { font: 13px/1.55 system-ui, sans-serif; overflow-x: auto; font-variant-numeric: tabular-nums }
.dk-tree > div { min-width: 50em }
.dk-tree b { font-weight: 600 }
.dk-tree summary, .dk-tree .leaf { display: flex; padding: 0 6px; border-radius: 3px; cursor: default }
.dk-tree summary { cursor: pointer; list-style: none }
.dk-tree summary::-webkit-details-marker { display: none }
.dk-tree summary > .m::before { content: "▸"; display: inline-block; width: 1em; opacity: .6 }
.dk-tree details[open] > summary > .m::before { content: "▾" }
.dk-tree .leaf > .m::before { content: ""; display: inline-block; width: 1em }
.dk-tree summary:hover, .dk-tree .leaf:hover { background: rgba(128, 128, 128, .16) }
.dk-tree summary:focus-visible { outline: 2px solid #7c5cff }
.dk-tree .m { flex: 1 1 16em; min-width: 16em; box-sizing: border-box; padding-right: .4em; white-space: nowrap;
  overflow: hidden; text-overflow: ellipsis }
.dk-tree .m i { font-style: normal; opacity: .62; margin-left: .5em }
.dk-tree .m u { text-decoration: none; margin-left: .5em; padding: 0 .4em; border-radius: 3px;
  background: rgba(128, 128, 128, .2) }
.dk-tree .c { flex: 0 0 5em; text-align: right; white-space: nowrap; padding-left: .4em }
.dk-tree .m + .c { flex-basis: 7.2em }
.dk-tree .h { opacity: .65; border-bottom: 1px solid rgba(128, 128, 128, .4); border-radius: 0 }
.dk-tree .s b { color: #8a5cf0 }
.dk-tree .n { opacity: .55 }
.dk-tree .e, .dk-tree .e b { color: #e5484d }
.dk-tree p { margin: 4px 6px; opacity: .7; max-width: 80em; white-space: normal }
.dk-tree p.e { opacity: 1 }
"""


def tree_html(
    trace: ModelTrace,
    *,
    depth: int | None = None,
    fold: bool = True,
    heat: Heat | None = None,
    open_depth: int = OPEN_DEPTH,
) -> str:
    """A fragment to put into a page or a cell.

    Args:
        trace: what was traced.
        depth: deepest level in it; all by default.
        fold: identical siblings as one row.
        heat: quantity that colours rows.
        open_depth: levels that are unfolded at first; the way to a module that failed always is.
    """
    rows = tree_rows(trace, depth=depth, fold=fold)
    columns, coloured = columns_of(trace), heat_column(trace, heat)
    to_problem = _way_to_problems(rows)
    head = "".join(f'<span class="c">{html.escape(column.header)}</span> ' for column in columns)
    parts = [f"<style>{STYLE}</style>", f'<div class="dk-tree"><div><b>{html.escape(headline(trace))}</b>']
    parts.append(f'<div class="leaf h"><span class="m">module</span> {head}</div>')
    unclosed: list[int] = []
    for place, row in enumerate(rows):
        while unclosed and rows[unclosed[-1]].depth >= row.depth:
            unclosed.pop()
            parts.append("</details>")
        leaf = place + 1 == len(rows) or rows[place + 1].depth <= row.depth
        line = _line(row, columns, coloured, rows[0], leaf=leaf)
        if not leaf:
            opened = " open" if row.depth < open_depth or place in to_problem else ""
            parts.append(f"<details{opened}><summary{line}</summary>")
            unclosed.append(place)
        else:
            parts.append(f"<div{line}</div>")
        if row.problem:
            indent = f"padding-left:{row.depth * 1.2 + 1:.1f}em"
            parts.append(f'<p class="e" style="{indent}">✗ {html.escape(row.problem)}</p>')
    parts += ["</details>"] * len(unclosed)
    parts += [f"<p>{html.escape(note)}</p>" for note in notes_of(trace)]
    return "".join([*parts, "</div></div>"])


def tree_page(trace: ModelTrace, *, depth: int | None = None, fold: bool = True, heat: Heat | None = None) -> str:
    """A whole HTML document, light or dark as the reader's system is."""
    return page(trace.model, tree_html(trace, depth=depth, fold=fold, heat=heat))


def page(title: str, body: str) -> str:
    """A document around a fragment."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">'
        f"<title>{html.escape(title)}</title></head><body>{body}</body></html>\n"
    )


def marks_html(row: TreeRow) -> str:
    """How many identical rows it stands for, how often it runs, and how much it hides."""
    marks = [f"×{row.repeat}" if row.repeat > 1 else "", calls_mark(row), f"+{row.hidden:,}" if row.hidden else ""]
    return "".join(f"<u>{mark}</u>" for mark in marks if mark)


def _way_to_problems(rows: list[TreeRow]) -> set[int]:
    """Places of every row above one with a problem."""
    found: set[int] = set()
    for row in rows:
        place = row.parent if row.problem else -1
        while place >= 0:
            found.add(place)
            place = rows[place].parent
    return found


def _line(row: TreeRow, columns: list[Column], coloured: Column, root: TreeRow, *, leaf: bool) -> str:
    """Attributes of the element of a row, and what stands in it."""
    node = row.node
    ran = node.calls or node.kind == "container" or not row.trace.ran
    classes = ["e"] if row.problem else ["s"] if node.kind in ("spiking", "neuron") else [] if ran else ["n"]
    classes += ["leaf"] if leaf else []
    share = coloured.heat(row, root) if row.depth else 0.0
    cells = []
    for column in columns:
        tint = ""
        if column is coloured and share:
            part = f"{100 * share:.1f}%"
            tint = f' style="background:linear-gradient(to left,rgba(245,148,82,.45) {part},transparent {part})"'
        cells.append(f'<span class="c"{tint}>{html.escape(column.cell(row))}</span>')
    kind = html.escape(node.class_name) if row.depth else ""
    words = f"<b>{html.escape(row.name)}</b><i>{kind}</i>{marks_html(row)}"
    name = f'<span class="m" style="padding-left:{row.depth * 1.2:.1f}em">{words}</span>'
    return f' class="{" ".join(classes)}" title="{html.escape(row_title(row))}">{name} {" ".join(cells)}'
