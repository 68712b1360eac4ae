"""Boxes in layers: none on another, edges downwards, few crossings, no surprise on odd graphs."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from darkit_nb.views.flow_layout import GAP, layout

SIZE = (60.0, 30.0)


def overlaps(centres: dict[str, tuple[float, float]], sizes: dict[str, tuple[float, float]]) -> bool:
    boxes = list(centres)
    for number, a in enumerate(boxes):
        for b in boxes[:number]:
            apart_x = abs(centres[a][0] - centres[b][0]) - (sizes[a][0] + sizes[b][0]) / 2
            apart_y = abs(centres[a][1] - centres[b][1]) - (sizes[a][1] + sizes[b][1]) / 2
            if apart_x < -1e-6 and apart_y < -1e-6:
                return True
    return False


def test_a_chain_is_a_straight_line():
    found = layout(dict.fromkeys("abc", SIZE), [("a", "b"), ("b", "c")])
    assert len({x for x, _ in found.centres.values()}) == 1
    assert found.width == 60


def test_a_residual_connection_goes_around():
    found = layout(dict.fromkeys("abc", SIZE), [("a", "b"), ("b", "c"), ("a", "c")])
    around = found.ways[2]
    assert len(around) == 3
    assert abs(around[1][0] - found.centres["b"][0]) >= 30 + GAP / 2


def test_crossings_are_undone():
    edges = [("a", "f"), ("b", "e"), ("c", "d")]
    found = layout(dict.fromkeys("abcdef", SIZE), edges)
    upper = sorted("abc", key=lambda key: found.centres[key][0])
    lower = sorted("def", key=lambda key: found.centres[key][0])
    assert [dict(edges)[key] for key in upper] == lower


def test_loops_and_edges_backwards():
    found = layout(dict.fromkeys("abc", SIZE), [("a", "b"), ("b", "c"), ("c", "a"), ("b", "b")])
    assert found.ways[2][0] == found.centres["c"]
    assert found.ways[2][-1] == found.centres["a"]
    assert found.ways[3] == [found.centres["b"]]


def test_nothing_to_lay_out():
    found = layout({}, [])
    assert (found.centres, found.width, found.height) == ({}, 0.0, 0.0)


@settings(max_examples=60)
@given(st.data())
def test_boxes_never_touch_and_edges_end_at_them(data: st.DataObject):
    count = data.draw(st.integers(1, 14))
    keys = [f"n{number}" for number in range(count)]
    sizes = {key: (data.draw(st.sampled_from([20.0, 80.0, 150.0])), 30.0) for key in keys}
    pair = st.tuples(st.sampled_from(keys), st.sampled_from(keys))
    edges = data.draw(st.lists(pair, max_size=25, unique=True))
    found = layout(sizes, edges)
    assert not overlaps(found.centres, sizes)
    for (a, b), way in zip(edges, found.ways, strict=True):
        assert way[0] == found.centres[a]
        assert way[-1] == found.centres[b]
        if keys.index(a) < keys.index(b):
            assert all(upper[1] < lower[1] for upper, lower in pairwise(way))
    for x, y in found.centres.values():
        assert 0 <= x <= found.width
        assert 0 <= y <= found.height
