"""What came of an edit, as text and as HTML; source and changes coloured."""

from __future__ import annotations

import re

from darkit_nb.records.patch import Patch, PatchProblem
from darkit_nb.views.edit_report import EditHistory, EditReport, Measure, PastEdit, excerpts, in_cell
from darkit_nb.views.python_html import diff_counts, diff_html, python_html

SOURCE = 'class A(B):\n    """Two\n    lines."""\n\n    def forward(self, x):  # comment\n        return x < 3\n'
PATCH = Patch(kind="code", targets=("a",), module="m", class_name="A", base=SOURCE, source=SOURCE.replace("3", "4"))
PROBLEM = PatchProblem(check="names", message="No <y>.", line=6, expected="x", fix="write x")


def plain(text: str) -> str:
    """HTML without its tags."""
    return re.sub(r"<[^>]*>", "", text)


def test_a_refusal_names_line_text_and_remedy():
    report = EditReport(title="Not applied", ok=False, problems=[PROBLEM], excerpt=excerpts([PROBLEM], SOURCE))
    assert repr(report).splitlines() == [
        "✗ Not applied",
        "  line 6: No <y>.",
        "      return x < 3",
        "    expected: x",
        "    what to do: write x",
    ]
    page = report._repr_html_()
    assert "No &lt;y&gt;." in page
    assert "<y>" not in page
    assert "cell line 7: No <y>." in in_cell(report, 1).to_text()
    assert "      return x < 3" in in_cell(report, 1).to_text()


def test_an_application_lists_what_changed():
    report = EditReport(
        title="Applied",
        ok=True,
        new=["gate"],
        kept=[f"w{n}" for n in range(20)],
        effect=[Measure("loss", "2.10", "2.00", "−4.8%", True)],
        notes=["The GPU was not asked."],
        diff=PATCH.diff,
        seconds=1.25,
    )
    assert "✓ Applied · +1 −1 · 1.2 s" in report.to_text()
    assert "new: gate" in report.to_text()
    assert "and 8 more" in report.to_text()
    assert "loss: 2.10 → 2.00 (−4.8%)" in report.to_text()
    assert all(text in plain(report.to_html()) for text in ("−4.8%", "The GPU was not asked.", "return x &lt; 4"))
    assert "kept" not in EditReport(title="Applied", ok=True, kept=["w"]).to_text()


def test_a_history_says_what_was_taken_back_and_why():
    past = [
        PastEdit(number=1, patch=PATCH, time=0.0, step=7),
        PastEdit(number=2, patch=PATCH, time=0.0, reverted=True, problem={"message": "loss is NaN"}),
    ]
    lines = repr(EditHistory(past, "net")).splitlines()
    assert lines[0] == "1 A in a applied at step 7"
    assert "reverted by itself: loss is NaN" in lines[1]
    assert "return x &lt; 4" in plain(EditHistory(past)._repr_html_())
    assert repr(EditHistory((), "net")) == "No edits of net."


def test_source_and_changes_are_coloured_and_lose_nothing():
    page = python_html(SOURCE, first_line=10, marked=15)
    shown = [plain(line) for line in page.split("</div>")[:-1]]
    assert shown[0] == "10  class A(B):"
    assert shown[5] == "15          return x &lt; 3"
    assert page.count("font-style:italic") == 1
    assert "color" not in python_html("def broken(:\n  'x").partition(">")[2].replace("background", "")
    assert diff_counts(PATCH.diff) == (1, 1)
    assert len(diff_html(PATCH.diff).split("</div>")) == len(PATCH.diff.splitlines()) + 1
