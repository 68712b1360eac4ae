"""Places for the boxes of a dataflow: layers from top to bottom, few crossings, straight lines where they can be.

The classical four steps: a layer for every box, points where an edge passes a layer, an order within each layer by the
mean place of the neighbours, and places as near to them as the widths allow.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

SWEEPS = 12
GAP = 24.0
"""Space between boxes of a layer."""

LAYER_GAP = 46.0
"""Space between layers, where the labels of edges stand."""

POINT = 14.0
"""Width that an edge takes where it passes a layer."""


@dataclass(frozen=True)
class Layout:
    """Where everything is.

    Attributes:
        centres: middle of each box.
        ways: points of each edge from box to box, in the order of the edges; two or more.
        width, height: of the whole.
    """

    centres: dict[str, tuple[float, float]]
    ways: list[list[tuple[float, float]]]
    width: float
    height: float


def layout(sizes: Mapping[str, tuple[float, float]], edges: Sequence[tuple[str, str]]) -> Layout:
    """Lay out boxes.

    Args:
        sizes: width and height of each, by key, in the order they run.
        edges: pairs of keys. One against the order of the keys goes upwards; one from a box to itself has no way.
    """
    order = {key: place for place, key in enumerate(sizes)}
    down = [(a, b) if order[a] < order[b] else (b, a) for a, b in edges]
    ranks = _ranks(order, [pair for pair in down if pair[0] != pair[1]])
    widths = {key: size[0] for key, size in sizes.items()}
    chains = [_chain(number, pair, ranks, widths) for number, pair in enumerate(down)]
    links = [link for chain in chains for link in pairwise(chain)]
    layers = _ordered(ranks, links)
    x = _places(layers, widths, links)
    heights = [max((sizes[key][1] for key in layer if key in sizes), default=0.0) for layer in layers]
    y, top = {}, 0.0
    for layer, height in zip(layers, heights, strict=True):
        y |= dict.fromkeys(layer, top + height / 2)
        top += height + LAYER_GAP
    left = min((x[key] - widths[key] / 2 for key in x), default=0.0)
    right = max((x[key] + widths[key] / 2 for key in x), default=0.0)
    spots = {key: (x[key] - left, y[key]) for key in x}
    ways = []
    for (a, _), chain, (first, _) in zip(edges, chains, down, strict=True):
        way = [spots[key] for key in chain]
        ways.append(way if a == first else way[::-1])
    return Layout({key: spots[key] for key in sizes}, ways, right - left, max(0.0, top - LAYER_GAP))


def _ranks(order: Mapping[str, int], down: Sequence[tuple[str, str]]) -> dict[str, int]:
    """The layer of each box: one below the lowest of those before it; a source stands right above what it feeds."""
    before: dict[str, list[str]] = {key: [] for key in order}
    after: dict[str, list[str]] = {key: [] for key in order}
    for a, b in down:
        before[b].append(a)
        after[a].append(b)
    ranks: dict[str, int] = {}
    for key in order:
        ranks[key] = max((ranks[each] + 1 for each in before[key]), default=0)
    for key in reversed(list(order)):
        if not before[key] and after[key]:
            ranks[key] = min(ranks[each] for each in after[key]) - 1
    return ranks


def _chain(number: int, pair: tuple[str, str], ranks: dict[str, int], widths: dict[str, float]) -> list[str]:
    """The boxes of an edge with a point for every layer between them, which is added to `ranks` and `widths`."""
    a, b = pair
    if a == b:
        return [a]
    points = [f"edge {number} layer {rank}" for rank in range(ranks[a] + 1, ranks[b])]
    ranks |= {point: ranks[a] + 1 + place for place, point in enumerate(points)}
    widths |= dict.fromkeys(points, POINT)
    return [a, *points, b]


def _ordered(ranks: Mapping[str, int], links: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Keys layer by layer, with few crossings."""
    layers: list[list[str]] = [[] for _ in range(max(ranks.values(), default=-1) + 1)]
    for key, rank in ranks.items():
        layers[rank].append(key)
    above, below = _neighbours(ranks, links)
    best, fewest = [list(layer) for layer in layers], _crossings(layers, below)
    place = {key: number for layer in layers for number, key in enumerate(layer)}
    for sweep in range(SWEEPS):
        if not fewest:
            break
        downwards = sweep % 2 == 0
        side = above if downwards else below
        for layer in layers if downwards else layers[::-1]:
            means = {key: _mean([place[other] for other in side[key]], place[key]) for key in layer}
            layer.sort(key=means.__getitem__)
            place |= {key: number for number, key in enumerate(layer)}
        crossings = _crossings(layers, below)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in layers], crossings
    return best


def _neighbours(
    keys: Iterable[str], links: Sequence[tuple[str, str]]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    above: dict[str, list[str]] = {key: [] for key in keys}
    below: dict[str, list[str]] = {key: [] for key in above}
    for a, b in links:
        below[a].append(b)
        above[b].append(a)
    return above, below


def _mean(places: Sequence[float], otherwise: float) -> float:
    return sum(places) / len(places) if places else otherwise


def _crossings(layers: Sequence[Sequence[str]], below: Mapping[str, Sequence[str]]) -> int:
    """Pairs of links between neighbouring layers that cross."""
    count = 0
    for upper, lower in pairwise(layers):
        place = {key: number for number, key in enumerate(lower)}
        ends = [place[other] for key in upper for other in sorted(below[key], key=place.__getitem__)]
        met: list[int] = []
        for end in ends:
            count += len(met) - bisect_right(met, end)
            insort(met, end)
    return count


def _places(
    layers: Sequence[Sequence[str]], widths: Mapping[str, float], links: Sequence[tuple[str, str]]
) -> dict[str, float]:
    """Horizontal middle of every key: near its neighbours, in order, and without touching."""
    x: dict[str, float] = {}
    for layer in layers:
        at = 0.0
        for key in layer:
            x[key] = at + widths[key] / 2
            at += widths[key] + GAP
        middle = (at - GAP) / 2
        x |= {key: x[key] - middle for key in layer}
    above, below = _neighbours(x, links)
    for sweep in range(SWEEPS):
        side = (above, below)[sweep % 2]
        for layer in layers if sweep % 2 == 0 else layers[::-1]:
            wish = [_mean([x[other] for other in side[key]], x[key]) for key in layer]
            for key, place in zip(layer, _apart(wish, [widths[key] for key in layer]), strict=True):
                x[key] = place
    return x


def _apart(wish: Sequence[float], widths: Sequence[float]) -> list[float]:
    """Places in the given order, at least a gap apart, whose squared distance from the wishes is the least.

    Boxes that would touch form a block, whose place is the mean of what its members wish; blocks that touch are one.
    """
    blocks: list[tuple[float, int, list[float]]] = []  # sum of wishes for the first member, members, offsets
    for number, place in enumerate(wish):
        total, count, offsets = place, 1, [0.0]
        while blocks:
            last_total, last_count, last_offsets = blocks[-1]
            step = last_offsets[-1] + widths[number - count] / 2 + GAP + widths[number - count + 1] / 2
            if last_total / last_count + step <= total / count:
                break
            blocks.pop()
            total, count = last_total + total - count * step, last_count + count
            offsets = last_offsets + [step + each for each in offsets]
        blocks.append((total, count, offsets))
    return [total / count + offset for total, count, offsets in blocks for offset in offsets]
