"""Three-way merge of an edit whose base has changed since it was made."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from darkit_nb.errors import PatchError


@dataclass(frozen=True)
class Conflict:
    """Lines that both sides changed, each in its own way.

    Attributes:
        line: first of them in the edited text, from 1.
        base: as they were.
        edited: as the edit has them.
        current: as the source has them now.
    """

    line: int
    base: tuple[str, ...]
    edited: tuple[str, ...]
    current: tuple[str, ...]

    def __str__(self) -> str:
        parts = (("<<<<<<< the edit", self.edited), ("||||||| before", self.base), ("======= now", self.current))
        return "".join(f"{mark}\n{''.join(lines)}" for mark, lines in parts) + ">>>>>>>"


def merge_texts(base: str, edited: str, current: str) -> str:
    """The edit, made from `base`, on top of what `base` has become.

    Lines that only one side changed are taken from it; the same change on both sides counts once. Changes of lines
    that touch are a conflict, for two edits that stand so near usually depend on one another.

    Raises:
        PatchError: both sides changed the same lines, shown as they stand on each; or what comes out is not Python.
    """
    merged, conflicts = merge_lines(*(text.splitlines(keepends=True) for text in (base, edited, current)))
    if conflicts:
        raise PatchError(
            f"The source has changed since this edit was made, in {len(conflicts)} place(s) that it changes too.",
            line=conflicts[0].line,
            expected="a source whose changes leave the edited lines alone",
            received="\n" + "\n".join(map(str, conflicts)),
            cause="another version of the library, or another edit since",
            fix="make the edit again from module_source(model, path).text",
        )
    text = "".join(merged)
    try:
        ast.parse(text)
    except SyntaxError as error:
        raise PatchError(
            "The edit and the source as it is now do not make one text.",
            received=f"{error.msg}, in the merged line {error.lineno}: {(error.text or '').strip()}",
            cause="both sides changed the structure of the same block",
            fix="make the edit again from module_source(model, path).text",
        ) from error
    return text


def merge_lines(
    base: Sequence[str], edited: Sequence[str], current: Sequence[str]
) -> tuple[list[str], tuple[Conflict, ...]]:
    """Merged lines, and the places where there was no choosing; there the edit's lines stand."""
    merged: list[str] = []
    conflicts: list[Conflict] = []
    for before, mine, theirs in _regions(base, edited, current):
        was, ours, now = base[before], edited[mine], current[theirs]
        if ours == now or now == was:
            merged += ours
        elif ours == was:
            merged += now
        else:
            merged += ours
            conflicts.append(Conflict(mine.start + 1, tuple(was), tuple(ours), tuple(now)))
    return merged, tuple(conflicts)


def _regions(
    base: Sequence[str], edited: Sequence[str], current: Sequence[str]
) -> Iterator[tuple[slice, slice, slice]]:
    """The three texts cut alike: by turns a run of lines that all three have, and what lies between two such runs."""
    at = (0, 0, 0)
    for start, mine, theirs, length in [*_common(base, edited, current), (len(base), len(edited), len(current), 0)]:
        yield slice(at[0], start), slice(at[1], mine), slice(at[2], theirs)
        at = (start + length, mine + length, theirs + length)
        yield slice(start, at[0]), slice(mine, at[1]), slice(theirs, at[2])


def _common(base: Sequence[str], edited: Sequence[str], current: Sequence[str]) -> Iterator[tuple[int, int, int, int]]:
    """Runs of lines of the base that both others kept: place in each, and length."""
    ours = SequenceMatcher(None, base, edited, autojunk=False).get_matching_blocks()
    theirs = SequenceMatcher(None, base, current, autojunk=False).get_matching_blocks()
    for one in ours:
        for other in theirs:
            start, end = max(one.a, other.a), min(one.a + one.size, other.a + other.size)
            if start < end:
                yield start, one.b + start - one.a, other.b + start - other.a, end - start
