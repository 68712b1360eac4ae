"""Something done in a process of its own."""

from __future__ import annotations

import threading
import time
from typing import Any

import psutil
import pytest

from darkit_nb.widgets.helper import Helper, problem_in


def ask(*arguments: str, **options: Any) -> tuple[str, dict[str, Any] | None]:
    heard, answer = threading.Event(), []

    def told(text: str, problem: dict[str, Any] | None) -> None:
        answer.append((text, problem))
        heard.set()

    Helper(arguments, told, **options)
    assert heard.wait(60)
    return answer[0]


def test_what_a_command_wrote_is_heard():
    text, problem = ask("--version")
    assert problem is None
    assert text.strip().count(".") == 2


def test_what_stands_in_its_way_is_heard_in_its_parts():
    text, problem = ask("stop", "no-such-run")
    assert text == ""
    assert problem is not None
    assert problem["message"]
    assert problem["fix"]


def test_a_process_that_dies_says_how():
    _, problem = ask("x", module="darkit_nb.no_such_module")
    assert problem is not None
    assert problem["received"].startswith("exit status 1: ")
    assert "no_such_module" in problem["received"]


def test_a_cancelled_command_says_nothing():
    heard: list[Any] = []
    helper = Helper(["60"], lambda *said: heard.append(said), module="time_sleep_is_no_module")
    helper.cancel()
    until = time.monotonic() + 30
    while psutil.pid_exists(helper.pid) and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.1)
    assert heard == []


@pytest.mark.parametrize(
    ("said", "status", "expected"),
    [
        (
            "a warning\ndarkit-nb: The model is gone.\n  expected: a folder\n  likely cause: moved\n    elsewhere\n",
            2,
            {"message": "The model is gone.", "expected": "a folder", "cause": "moved\nelsewhere"},
        ),
        (
            "",
            -9,
            {
                "message": "The process that was asked ended before it was done.",
                "received": "exit status -9: nothing was said",
                "cause": "the machine ran out of memory",
            },
        ),
    ],
)
def test_an_error_is_taken_apart_again(said: str, status: int, expected: dict[str, str]):
    assert problem_in(said, status) == expected
