"""The manners of every widget: messages, errors in place, text without a kernel."""

from __future__ import annotations

import pytest
import traitlets

from darkit_nb.errors import RunError
from darkit_nb.widgets.base import DarkitWidget, problem_of, script


class Counter(DarkitWidget):
    """Counts what it is asked to."""

    _esm = "export default { render() {} }"
    count = traitlets.Int(0).tag(sync=True)

    def text(self) -> str:
        return f"counted <{self.count}>"

    def do_add(self, by: int, buffers: list[bytes] | None = None) -> None:
        if by < 0:
            raise RunError("Counts only go up.", expected="a positive number", received=str(by), fix="give one")
        self.count += by + len(buffers or [])


def test_a_message_calls_its_action():
    widget = Counter()
    widget._receive(widget, {"do": "add", "by": 2}, [])
    widget._receive(widget, {"do": "add", "by": 2}, [b"one buffer"])
    assert widget.count == 5
    assert widget.problem is None


def test_an_error_of_the_user_is_shown_with_its_fix_and_cleared_by_the_next_success():
    widget = Counter()
    widget._receive(widget, {"do": "add", "by": -1}, [])
    assert widget.problem == {
        "message": "Counts only go up.",
        "expected": "a positive number",
        "received": "-1",
        "fix": "give one",
    }
    assert widget.last_fault is None
    widget._receive(widget, {"do": "add", "by": 1}, [])
    assert widget.problem is None


def test_a_fault_of_ours_is_shown_as_such_and_kept():
    widget = Counter()
    widget._receive(widget, {"do": "add", "by": None}, [])
    assert widget.problem is not None
    assert widget.problem["cause"] == "a fault of darkit-nb, not of yours"
    assert isinstance(widget.last_fault, TypeError)


@pytest.mark.parametrize("message", [{}, {"do": "nothing"}, {"do": "__init__"}, {"do": ["add"]}, "text", None])
def test_a_message_that_means_nothing_does_nothing(message: object):
    widget = Counter()
    widget._receive(widget, message, [])
    assert widget.count == 0
    assert widget.problem is None


def test_without_a_kernel_it_is_its_text(capsys: pytest.CaptureFixture[str]):
    widget = Counter()
    widget._ipython_display_()
    assert capsys.readouterr().out == "counted <0>\n"
    assert repr(widget) == "counted <0>"


def test_the_static_picture_escapes_its_text_and_can_be_hidden_by_the_live_view():
    widget = Counter()
    bundle = widget._snapshot_bundle()
    assert "counted &lt;0&gt;" in bundle["text/html"]
    assert f'class="dk-snapshot-{widget._snapshot_id}"' in bundle["text/html"]


def test_a_bundle_that_was_not_built_says_so():
    assert "was not built" in str(script("no_such_widget"))


def test_a_problem_holds_only_what_the_error_says():
    assert problem_of(RunError("No.")) == {"message": "No."}
