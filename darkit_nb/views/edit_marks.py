"""Edits of a run's model as marks on its curves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class EditMark:
    """An edit that was put into a model, or taken out of it.

    Attributes:
        step: the step after which that was done.
        text: what was done, in full.
        label: the same in a word or two, to stand beside the mark.
        out: whether it was taken out.
    """

    step: int
    text: str
    label: str
    out: bool = False


def edit_marks(events: Iterable[Mapping[str, Any]]) -> tuple[EditMark, ...]:
    """The marks of a run's events; those of steps that a resume has done away with are left out."""
    marks: list[EditMark] = []
    for event in events:
        step, number, kind = event.get("step"), event.get("number"), event.get("kind")
        if kind == "patches" and isinstance(step, int):
            marks = [mark for mark in marks if mark.step < step]
        elif kind in ("patch", "revert") and isinstance(step, int) and event.get("reason") != "resume":
            out = kind == "revert"
            label = f"edit {number}{' out' if out else ''}"
            # Put in and taken out again at one step: one label has room there, that of the outcome.
            marks = [replace(mark, label="") if mark.step == step and mark.label in label else mark for mark in marks]
            marks.append(EditMark(step, edit_text(event), label, out))
    return tuple(marks)


def edit_text(event: Mapping[str, Any]) -> str:
    """What an event `patch` or `revert` says: `edit 2 taken out by itself: …`."""
    number, label, reason = event.get("number"), event.get("label"), event.get("reason")
    named = label if isinstance(label, str) else "an edit"
    if event.get("kind") == "patch":
        how = {"fork": "comes with the fork", "replay": "repeated from the fork", "resume": "in effect again"}
        return f"edit {number} {how.get(str(reason), 'applied')}: {named}"
    if reason == "failed":
        problem = event.get("problem")
        said = problem.get("message") if isinstance(problem, Mapping) else None
        return f"edit {number} taken out by itself: {said or named}"
    if reason == "resume":
        return f"edit {number} is lost, it came after the checkpoint: {named}"
    return f"edit {number} taken out: {named}"
