"""Events as a short history that people read."""

from __future__ import annotations

from typing import Any

import pytest

from darkit_nb.views.event_line import event_line, event_lines


@pytest.mark.parametrize(
    ("event", "text", "tone"),
    [
        ({"kind": "attempt", "attempt": 1}, "started", ""),
        ({"kind": "attempt", "attempt": 3}, "resumed, attempt 3", ""),
        ({"kind": "backend", "name": "blocked", "reason": "on the CPU"}, "backend blocked: on the CPU", ""),
        ({"kind": "finished", "step": 60, "message": None}, "finished", "good"),
        ({"kind": "stopped", "message": "asked to stop"}, "stopped: asked to stop", "warn"),
        ({"kind": "failed", "problem": {"message": "No memory."}}, "failed: No memory.", "bad"),
        ({"kind": "ack", "command": "stop", "ok": True}, "stop asked for", ""),
        ({"kind": "ack", "command": "probe", "ok": True}, "probe answered", ""),
        (
            {"kind": "ack", "command": "patch", "ok": True, "dry_run": True, "validation": {"ok": False}},
            "an edit was tried and would be refused",
            "",
        ),
        (
            {"kind": "ack", "command": "checkpoint", "ok": False, "problem": None},
            "checkpoint failed: no reason given",
            "bad",
        ),
        ({"kind": "patch", "number": 2, "label": "MLP in a"}, "edit 2 applied: MLP in a", ""),
        ({"kind": "revert", "number": 2, "label": "MLP in a", "reason": "asked"}, "edit 2 taken out: MLP in a", ""),
        (
            {
                "kind": "revert",
                "number": 2,
                "label": "x",
                "reason": "failed",
                "problem": {"message": "The loss is nan."},
            },
            "edit 2 taken out by itself: The loss is nan.",
            "bad",
        ),
        ({"kind": "some_later_kind"}, "some later kind", ""),
    ],
)
def test_an_event_is_told(event: dict[str, Any], text: str, tone: str):
    line = event_line(event)
    assert line is not None
    assert (line["text"], line["tone"]) == (text, tone)


@pytest.mark.parametrize("event", [{}, {"kind": None}, {"kind": "request", "command_id": "a"}, {"kind": "patches"}])
def test_what_only_machines_care_about_is_left_out(event: dict[str, Any]):
    assert event_line(event) is None


def test_only_the_last_events_are_kept():
    lines = event_lines([{"kind": "attempt", "attempt": n, "time": n, "step": n} for n in range(500)], limit=3)
    assert [(line["time"], line["step"]) for line in lines] == [(497, 497), (498, 498), (499, 499)]
