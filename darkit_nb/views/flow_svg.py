"""The dataflow of one level as a drawing that needs no other program: one SVG, in the colours of the page around it."""

from __future__ import annotations

import html
from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise

from darkit_nb.records.trace_flow import FlowEdge, FlowNode, TraceFlow
from darkit_nb.views.flow_chain import chained
from darkit_nb.views.flow_layout import layout

MOST_NODES = 300
"""Boxes beyond which nobody sees anything."""

_MARGIN, _LETTER, _SMALL, _WIDE, _LINE, _LETTERS_HIGH = 28.0, 6.7, 5.8, 6.9, 15.0, 11.0
_HALO = "paint-order:stroke;stroke:var(--jp-layout-color0,transparent);stroke-width:3px;stroke-opacity:.8"
"""Keeps a label readable where it lies on a line, in a notebook; elsewhere the colour behind it is not known."""

_LOOK = {
    "input": ("rgba(128,128,128,.14)", "rgba(128,128,128,.8)", 13.0),
    "output": ("rgba(128,128,128,.14)", "rgba(128,128,128,.8)", 13.0),
    "module": ("rgba(124,92,255,.16)", "#7c5cff", 6.0),
    "operator": ("rgba(245,148,82,.16)", "#e8873d", 2.0),
}
"""Fill, line and radius of the corners of each kind of box."""

Point = tuple[float, float]


@dataclass(frozen=True)
class _Label:
    """Words at an edge: where they stand, and whether x is their middle or their start."""

    text: str
    x: float
    y: float
    anchor: str

    @property
    def ends(self) -> tuple[float, float]:
        """Left and right, in a wide font."""
        width = len(self.text) * _WIDE
        left = self.x - (width / 2 if self.anchor == "middle" else 0)
        return left, left + width

    def touches(self, other: _Label) -> bool:
        """Whether two labels lie on one another."""
        (left, right), (begin, end) = self.ends, other.ends
        return left < end and begin < right and abs(self.y - other.y) < _LETTERS_HIGH


def flow_svg(flow: TraceFlow) -> str:
    """Boxes from top to bottom in the order they run, edges labelled with the shape of the tensor.

    A box that runs S times in one call is marked ×S, and what one step hands to the next is an edge to itself. Edges
    against the order are dashed. Identical blocks in a row are one box. Of more than `MOST_NODES` boxes the first ones
    are drawn, and a note says so.
    """
    flow = chained(flow)
    nodes = flow.nodes[:MOST_NODES]
    drawn = {node.key for node in nodes}
    edges = [edge for edge in flow.edges if edge.source in drawn and edge.target in drawn]
    sizes = {node.key: _size(node) for node in nodes}
    own = {edge.source: len(edge.label) * _SMALL + 34 for edge in edges if edge.source == edge.target}
    rooms = {key: (width + 2 * own.get(key, 0), height) for key, (width, height) in sizes.items()}
    found = layout(rooms, [(edge.source, edge.target) for edge in edges])
    out, into = Counter(edge.source for edge in edges), Counter(edge.target for edge in edges)
    notes = _notes(flow, len(nodes))
    width = max(found.width + 2 * _MARGIN + 70, 5.6 * max(map(len, notes)) + 2 * _MARGIN)
    height = found.height + 2 * _MARGIN + _LINE * len(notes)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" style="max-width:100%;height:auto" font-family="system-ui,sans-serif" font-size="12" '
        f'fill="currentColor" role="img" aria-label="dataflow of {html.escape(flow.path or flow.class_name)}">',
        '<defs><marker id="dk-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto-start-reverse"><path d="M0 0 8 4 0 8z" fill="currentColor" opacity=".65"/></marker></defs>',
        f'<g transform="translate({_MARGIN:.0f} {_MARGIN:.0f})">',
    ]
    lines, labels = [], []
    for edge, way in zip(edges, found.ways, strict=True):
        at = 0.5 + 0.22 * ((out[edge.source] > into[edge.target]) - (out[edge.source] < into[edge.target]))
        line, label = _edge(edge, way, sizes, at)
        lines.append(line)
        labels.append(label)
    labels = _apart([label for label in labels if label.text])
    parts += lines
    parts += [_box(node, found.centres[node.key], sizes[node.key]) for node in nodes]
    parts += map(_written, labels)
    parts += ["</g>"]
    for number, note in enumerate(notes):
        y = height - _LINE * (len(notes) - number) + 4
        parts.append(f'<text x="{_MARGIN:.0f}" y="{y:.0f}" font-size="11" opacity=".7">{html.escape(note)}</text>')
    return "".join([*parts, "</svg>"])


def _notes(flow: TraceFlow, drawn: int) -> list[str]:
    why = "" if flow.reason is None else f": {flow.reason[:160]}"
    notes = [f"{flow.path or flow.class_name} ({flow.class_name}), found by {flow.origin}{why}"]
    if drawn < len(flow.nodes):
        notes.append(f"The first {drawn} of {len(flow.nodes):,} boxes.")
    return notes


def _words(node: FlowNode) -> tuple[str, str]:
    """The two lines of a box: what it is called, and its class."""
    calls = f" ×{node.calls}" if node.calls > 1 else ""
    second = node.class_name if node.kind == "module" else ""
    return _short(node.label) + calls, _short(second)


def _short(text: str) -> str:
    return text if len(text) <= 28 else f"{text[:27]}…"


def _size(node: FlowNode) -> tuple[float, float]:
    first, second = _words(node)
    width = max(len(first) * (_LETTER + 0.5), len(second) * _LETTER * 0.92) + 24
    return max(48.0, width), 40.0 if second else 26.0


def _box(node: FlowNode, centre: Point, size: tuple[float, float]) -> str:
    (x, y), (width, height) = centre, size
    fill, line, radius = _LOOK[node.kind]
    first, second = _words(node)
    top = y + (4 if not second else -2)
    tip = html.escape(f"{node.path or node.class_name or node.label}" + (f", line {node.line}" if node.line else ""))
    rows = [f'<text x="{x:.1f}" y="{top:.1f}" text-anchor="middle">{html.escape(first)}</text>']
    if second:
        small = 'text-anchor="middle" font-size="11" opacity=".7"'
        rows.append(f'<text x="{x:.1f}" y="{y + 13:.1f}" {small}>{html.escape(second)}</text>')
    return (
        f'<g data-path="{html.escape(node.path)}"><title>{tip}</title>'
        f'<rect x="{x - width / 2:.1f}" y="{y - height / 2:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'rx="{radius:.0f}" fill="{fill}" stroke="{line}"/>{"".join(rows)}</g>'
    )


def _edge(edge: FlowEdge, way: list[Point], sizes: dict[str, tuple[float, float]], at: float) -> tuple[str, _Label]:
    """The line, and its label, which is drawn above everything: `at` of the way down a short one, 0 to 1."""
    if edge.source == edge.target:
        (x, y), (width, height) = way[0], sizes[edge.source]
        right, half = x + width / 2, height * 0.28
        path = f"M{right:.1f} {y + half:.1f}c26 10 26 {-2 * half - 10:.1f} 0 {-2 * half:.1f}"
        return _path(path, dashed=False), _Label(edge.label, right + 24, y + 4, "start")
    up = way[0][1] > way[-1][1]
    start = (way[0][0], way[0][1] + (-1 if up else 1) * sizes[edge.source][1] / 2)
    end = (way[-1][0], way[-1][1] + (1 if up else -1) * (sizes[edge.target][1] / 2 + 2))
    points = [start, *way[1:-1], end]
    path = f"M{start[0]:.1f} {start[1]:.1f}"
    for (ax, ay), (bx, by) in pairwise(points):
        middle = (ay + by) / 2
        path += f"C{ax:.1f} {middle:.1f} {bx:.1f} {middle:.1f} {bx:.1f} {by:.1f}"
    half = (len(points) - 1) // 2
    (ax, ay), (bx, by) = points[half], points[half + 1]
    at = at if len(points) == 2 else 0.5
    x, y = ax + (bx - ax) * at * at * (3 - 2 * at), ay + (by - ay) * at + 4
    return _path(path, dashed=edge.feedback), _Label(edge.label, x, y, "middle")


def _path(path: str, *, dashed: bool) -> str:
    dash = ' stroke-dasharray="5 3"' if dashed else ""
    return f'<path d="{path}" fill="none" stroke="currentColor" stroke-opacity=".55"{dash} marker-end="url(#dk-tip)"/>'


def _apart(labels: list[_Label]) -> list[_Label]:
    """Labels moved up or down, each as little as needed not to lie on one before it."""
    placed: list[_Label] = []
    for label in labels:
        tries = (replace(label, y=label.y + side * step * _LETTERS_HIGH) for step in range(5) for side in (1, -1))
        placed.append(next((each for each in tries if not any(each.touches(other) for other in placed)), label))
    return placed


def _written(label: _Label) -> str:
    look = f'text-anchor="{label.anchor}" font-size="10.5" style="{_HALO}"'
    return f'<text x="{label.x:.1f}" y="{label.y:.1f}" {look}>{html.escape(label.text)}</text>'
