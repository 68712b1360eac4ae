"""While nobody looks nothing is sent, and nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest
import traitlets

from darkit_nb.widgets import attendance, base
from darkit_nb.widgets.attendance import Attendance
from darkit_nb.widgets.base import DarkitWidget


class Page(DarkitWidget):
    """A widget whose messages to the page are caught at the comm."""

    _esm = "export default { render() {} }"
    count = traitlets.Int(0).tag(sync=True)
    other = traitlets.Int(0).tag(sync=True)

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        super().__init__()
        self.sent.clear()

    def _send(self, msg: dict[str, Any], buffers: Any = None) -> None:
        self.sent.append(msg)

    def text(self) -> str:
        return "page"


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """All widgets wait ten seconds of this clock for a sign of life."""
    clock = Clock()
    fresh = Attendance(patience_s=10.0, clock=clock)
    monkeypatch.setattr(attendance, "attendance", fresh)
    monkeypatch.setattr(base, "attendance", fresh)
    return clock


def states(page: Page) -> list[dict[str, Any]]:
    return [message["state"] for message in page.sent if message["method"] == "update"]


def test_before_the_first_sign_everything_is_sent(clock: Clock):
    page = Page()
    clock.now = 1000.0
    page.count = 1
    assert states(page) == [{"count": 1}]


def test_what_changes_in_silence_is_sent_once_and_as_it_is_then(clock: Clock):
    page = Page()
    attendance.attendance.beat()
    clock.now = 11.0
    for value in range(1, 100):
        page.count = value
        page.send({"line": value})
    assert page.sent == []
    attendance.attendance.beat()
    assert states(page) == [{"count": 99}]


def test_any_message_of_a_page_is_a_sign_of_life_and_a_beat_does_nothing_else(clock: Clock):
    page = Page()
    page.problem = {"message": "still wrong"}
    attendance.attendance.beat()
    clock.now = 11.0
    page.sent.clear()
    page.other = 5
    assert page.sent == []
    page._handle_msg({"content": {"data": {"method": "custom", "content": {"do": "beat"}}}, "buffers": []})
    assert states(page) == [{"other": 5}]
    assert page.problem == {"message": "still wrong"}


def test_a_page_that_beats_in_time_misses_nothing(clock: Clock):
    page = Page()
    for second in range(0, 60, 9):
        clock.now = float(second)
        attendance.attendance.beat()
        page.count = second + 1
    assert len(states(page)) == 7
