from __future__ import annotations

import dataclasses

import pytest

from darkit_nb.errors import PatchError
from darkit_nb.records.patch import AppliedPatch, Patch, PatchProblem, Validation, clean_text, text_hash

BASE = "class A(B):\n    x = 1\n"


def patch(**changes: object) -> Patch:
    facts = {
        "kind": "code",
        "targets": ["a.b"],
        "module": "m",
        "class_name": "A",
        "base": BASE,
        "source": BASE + "# 2\n",
    }
    return Patch(**{**facts, **changes})


def test_a_patch_survives_its_file():
    made = patch(note="why")
    assert Patch.from_json(made.to_json()) == made
    spec = patch(kind="spec", base="", source="", spec={"num_levels": 4})
    assert Patch.from_json(spec.to_json()) == spec


def test_the_id_is_of_the_edit_alone():
    assert patch(note="one", created=1.0).id == patch(note="two", created=2.0).id
    assert len({patch().id, patch(source="class A(B): pass").id, patch(targets=["a"]).id}) == 3


def test_the_same_text_has_the_same_hash_at_any_indentation_and_keeps_its_line_numbers():
    indented = "\n    class A(B):\r\n        x = 1\n\n"
    assert clean_text(indented) == "\nclass A(B):\n    x = 1\n"
    assert text_hash("    class A(B):\n        x = 1") == text_hash(BASE)


def test_the_diff_shows_what_changed():
    assert "-    x = 1\n+    x = 2\n" in patch(source="class A(B):\n    x = 2\n").diff
    assert patch(kind="spec", base="", source="", spec={"num_levels": 4}).diff == "+num_levels = 4\n"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.pop("targets"),
        lambda data: data.update(schema=2),
        lambda data: data.update(schema="1"),
        lambda data: data.update(surprise=1),
        lambda data: data.update(targets=[1]),
        lambda data: data.update(base="class A(C):\n    x = 1\n"),
        lambda data: data.update(kind="shell"),
        lambda data: data.update(targets=[]),
        lambda data: data.update(source=3),
    ],
)
def test_what_is_no_patch_is_refused(spoil):
    data = patch().to_dict()
    spoil(data)
    with pytest.raises(PatchError):
        Patch.from_dict(data)


@pytest.mark.parametrize("text", ["", "[1]", "{"])
def test_a_file_that_is_no_patch_is_refused(text: str):
    with pytest.raises(PatchError):
        Patch.from_json(text)


def test_a_validation_survives_being_written():
    problem = PatchProblem(check="shape", message="Two rows.", line=3)
    done = Validation(ok=False, problems=(problem,), new=("a.w",), seconds=1.5)
    assert Validation.from_dict(done.to_dict()) == done
    assert str(problem) == "line 3: Two rows."


def test_what_was_applied_is_plain_data():
    applied = AppliedPatch(patch=patch(), number=1, time=2.0, new=("a",))
    assert applied.to_dict()["patch"]["targets"] == ["a.b"]
    assert set(applied.to_dict()) == {info.name for info in dataclasses.fields(AppliedPatch)}
