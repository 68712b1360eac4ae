"""Marks of edits: what was done, to the model that the run has now."""

from __future__ import annotations

from darkit_nb.views.edit_marks import edit_marks, edit_text


def event(kind: str, step: int, number: int = 0, **more: object) -> dict[str, object]:
    return {"kind": kind, "step": step, "number": number, "label": "MLP in a", **more}


def test_put_in_and_taken_out():
    marks = edit_marks([event("patch", 3, 1), event("stopped", 4), event("revert", 9, 1, reason="asked")])
    assert [(mark.step, mark.label, mark.out) for mark in marks] == [(3, "edit 1", False), (9, "edit 1 out", True)]
    assert marks[0].text == "edit 1 applied: MLP in a"


def test_what_failed_at_once_has_one_label_and_says_why():
    failed = event("revert", 3, 1, reason="failed", problem={"message": "The loss became nan."})
    marks = edit_marks([event("patch", 3, 1), failed])
    assert [mark.label for mark in marks] == ["", "edit 1 out"]
    assert marks[1].text == "edit 1 taken out by itself: The loss became nan."


def test_what_a_resume_has_done_away_with_is_no_mark():
    lost = [event("patch", 3, 1), event("patch", 10, 2), event("patch", 12, 3)]
    events = [
        *lost,
        event("patches", 10, in_effect=[1]),
        event("revert", 10, 2, reason="resume"),
        event("patch", 11, 4),
    ]
    assert [mark.label for mark in edit_marks(events)] == ["edit 1", "edit 4"]
    assert "lost" in edit_text(events[4])


def test_a_damaged_event_is_passed_over():
    assert edit_marks([{"kind": "patch"}, {"kind": "revert", "step": "x"}, {}]) == ()
