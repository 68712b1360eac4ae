from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkit_nb.edit.merge import merge_lines, merge_texts
from darkit_nb.errors import PatchError

BASE = """class A(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = 1
        self.b = 2

    def forward(self, x):
        y = self.one(x)
        z = self.two(y)
        return z
"""


def test_changes_in_different_places_are_both_taken():
    edited = BASE.replace("return z", "return 2 * z")
    current = BASE.replace("self.a = 1", "self.a = 7\n        self.c = 3")
    assert merge_texts(BASE, edited, current) == current.replace("return z", "return 2 * z")


def test_the_same_change_on_both_sides_counts_once():
    edited = BASE.replace("self.b = 2", "self.b = 3").replace("return z", "return -z")
    current = BASE.replace("self.b = 2", "self.b = 3")
    assert merge_texts(BASE, edited, current) == edited


@pytest.mark.parametrize(
    ("edited", "current"),
    [
        (BASE.replace("return z", "return 2 * z"), BASE.replace("return z", "return 3 * z")),
        (BASE.replace("        return z\n", ""), BASE.replace("return z", "return 3 * z")),
        (BASE.replace("self.two(y)", "self.two(2 * y)"), BASE.replace("return z", "return z, y")),  # lines that touch
    ],
)
def test_a_conflict_shows_both_sides(edited: str, current: str):
    with pytest.raises(PatchError, match="1 place") as caught:
        merge_texts(BASE, edited, current)
    shown = caught.value.received or ""
    assert shown.index("<<<<<<< the edit") < shown.index("||||||| before") < shown.index("======= now")
    assert caught.value.line in range(8, 11)
    assert set(current.splitlines()) - set(BASE.splitlines()) <= set(shown.splitlines())


def test_a_merge_that_is_not_python_is_refused():
    base, edited = "x = [\n1,\n2,\n3,\n]\n", "x = (\n1,\n2,\n3,\n)\n"
    current = "x = [\n1,\n2,\n]\ny = [\n3,\n]\n"
    with pytest.raises(PatchError, match="do not make one text"):
        merge_texts(base, edited, current)


LINES = st.lists(st.sampled_from("abcde"), max_size=8)


@given(LINES, LINES)
def test_a_side_that_did_nothing_changes_nothing(base: list[str], other: list[str]):
    assert merge_lines(base, other, base) == (other, ())
    assert merge_lines(base, base, other) == (other, ())
    assert merge_lines(base, other, other) == (other, ())


@given(LINES, LINES, LINES)
def test_no_line_of_either_side_is_lost_without_a_conflict(base: list[str], mine: list[str], theirs: list[str]):
    merged, conflicts = merge_lines(base, mine, theirs)
    if not conflicts:
        assert (set(mine) | set(theirs)) - set(base) <= set(merged)
    other, refused = merge_lines(base, theirs, mine)
    assert bool(refused) == bool(conflicts)
    assert conflicts or other == merged
