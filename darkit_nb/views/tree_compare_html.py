"""Two model trees as one in HTML that needs nothing else: `<details>` fold it, signs and colours mark what differs."""

from __future__ import annotations

import html

from darkit_nb.records.trace_compare import TraceComparison
from darkit_nb.views.tree_columns import Column, row_title
from darkit_nb.views.tree_compare_rows import (
    ARROW,
    ComparedLine,
    compared_columns,
    compared_lines,
    headline,
    notes_of,
    totals,
)
from darkit_nb.views.tree_html import OPEN_DEPTH, STYLE, marks_html, page
from darkit_nb.views.tree_rows import TreeRow

# Mixed with the colour of the text, they are readable on a light page and on a dark one.
_COLOURS = {"changed": "#e08a00", "new": "#2f9e44", "gone": "#e5484d", "affected": "#1c7ed6"}
_MIXED = "".join(
    f".dk-compare .{state} .g, .dk-compare .{state} b, .dk-compare .{state} .m i "
    f"{{ color: {colour}; color: color-mix(in srgb, {colour} 78%, currentColor); opacity: 1 }}\n"
    for state, colour in _COLOURS.items()
)
_STYLE = """
.dk-compare .g { display: inline-block; width: 1.1em; font-weight: 700; font-family: ui-monospace, monospace }
.dk-compare .m { flex: 1 0 22em }
.dk-compare .c { flex: 0 0 10.5em }
.dk-compare .w { flex: 0 0 7em; text-align: left; padding-left: 1.5em; white-space: nowrap }
.dk-compare .gone b, .dk-compare .gone .m i { text-decoration: line-through }
.dk-compare .same > .m b, .dk-compare .affected > .m b { font-weight: 400 }
.dk-compare .d { font-weight: 600 }
.dk-compare table { border-collapse: collapse; margin: 4px 6px 8px }
.dk-compare table tr:nth-child(n) { background: none }
.dk-compare td { padding: 1px 1.4em 1px 0; text-align: right; white-space: nowrap; border: 0 }
.dk-compare td:first-child { text-align: left; opacity: .65 }
"""


def comparison_html(
    comparison: TraceComparison,
    *,
    depth: int | None = None,
    fold: bool = True,
    only_changed: bool = False,
    open_depth: int = OPEN_DEPTH,
) -> str:
    """A fragment to put into a page or a cell.

    Args:
        comparison: two traces.
        depth: deepest level in it; all by default.
        fold: neighbouring blocks that differ alike as one row.
        only_changed: leave out what is the same.
        open_depth: levels that are unfolded at first; so is every module with something in it that differs.
    """
    lines = compared_lines(comparison, depth=depth, fold=fold, only_changed=only_changed)
    columns = compared_columns(lines)
    parts = [f"<style>{STYLE}{_STYLE}{_MIXED}</style>", '<div class="dk-tree dk-compare"><div>']
    more = any(line.words(columns) for line in lines)
    parts += [f"<b>{html.escape(headline(comparison))}</b>", _totals(comparison), _head(columns, more)]
    unclosed: list[TreeRow] = []
    for place, line in enumerate(lines):
        row = line.row
        while unclosed and unclosed[-1].depth >= row.depth:
            unclosed.pop()
            parts.append("</details>")
        leaf = place + 1 == len(lines) or lines[place + 1].row.depth <= row.depth
        if leaf:
            parts.append(f"<div{_line(line, columns, more, 'leaf')}</div>")
        else:
            opened = " open" if row.depth < open_depth or line.below else ""
            parts.append(f"<details{opened}><summary{_line(line, columns, more, '')}</summary>")
            unclosed.append(row)
        if row.problem:
            parts.append(f'<p class="e">✗ {html.escape(row.problem)}</p>')
    parts += ["</details>"] * len(unclosed)
    parts += [f"<p>{html.escape(note)}</p>" for note in notes_of(comparison, only_changed=only_changed)]
    return "".join([*parts, "</div></div>"])


def comparison_page(
    comparison: TraceComparison, *, depth: int | None = None, fold: bool = True, only_changed: bool = False
) -> str:
    """A whole HTML document, light or dark as the reader's system is."""
    return page(headline(comparison), comparison_html(comparison, depth=depth, fold=fold, only_changed=only_changed))


def _totals(comparison: TraceComparison) -> str:
    rows = "".join(
        f"<tr><td>{name}</td><td>{before}</td><td>{'' if before == after else ARROW}</td>"
        f"<td>{'' if before == after else after}</td><td>{change}</td></tr>"
        for name, before, after, change in totals(comparison)
    )
    return f"<table>{rows}</table>"


def _head(columns: list[Column], more: bool) -> str:
    heads = "".join(f'<span class="c">{html.escape(column.header)}</span> ' for column in columns)
    also = '<span class="w">also</span>' * more
    return f'<div class="leaf h"><span class="m">module</span> {heads}{also}</div>'


def _line(line: ComparedLine, columns: list[Column], more: bool, extra: str) -> str:
    """Attributes of the element of a row, and what stands in it."""
    row = line.row
    texts = [line.cell(column) for column in columns]
    cells = "".join(f'<span class="c{" d" * (ARROW in text)}">{html.escape(text)}</span> ' for text in texts)
    kind = html.escape(line.kind) if row.depth or ARROW in line.kind else ""
    sign = f'<span class="g" aria-label="{line.state}">{line.sign}</span>'
    words = f"{sign}<b>{html.escape(row.name)}</b><i>{kind}</i>{marks_html(row)}"
    name = f'<span class="m" style="padding-left:{row.depth * 1.2:.1f}em">{words}</span>'
    also = f'<span class="w">{html.escape(line.words(columns))}</span>' * more
    title = html.escape(f"{line.state}\n{row_title(row)}")
    classes = f"{'affected' if line.affected else line.state} {extra}".strip()
    return f' class="{classes}" title="{title}">{name} {cells}{also}'
