from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from darkit_nb.edit.apply import apply, history, make_patch, revert
from darkit_nb.edit.source import module_source
from darkit_nb.errors import PatchError
from darkit_nb.records.patch import Patch, PatchProblem, Validation


class Layer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


class Stack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Layer(3), Layer(3)
        self.again = self.first

    def forward(self, x: Tensor) -> Tensor:
        return self.again(self.second(self.first(x)))


TWICE = "class Twice(Layer):\n    def forward(self, x):\n        return 2 * super().forward(x)\n"
X = torch.ones(2, 3)


@pytest.fixture
def model() -> Stack:
    torch.manual_seed(0)
    return Stack()


def edit(model: nn.Module, text: str, *targets: str, folder: Path, **more) -> None:
    apply(model, make_patch(model, targets[0], text, targets=targets), folder=folder, **more)


def whole(body: str) -> str:
    init = "    def __init__(self, width: int) -> None:\n        super().__init__()\n"
    init += "        self.linear = nn.Linear(width, width)\n"
    return f"class Layer(nn.Module):\n{init}\n    def forward(self, x: Tensor) -> Tensor:\n        {body}\n"


def test_files_of_edits_lie_beside_the_notebook(model: Stack, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    patch = make_patch(model, "first", TWICE)
    apply(model, patch)
    assert (tmp_path / ".darkit" / "patches" / f"Layer_{patch.id}.py").read_text() == TWICE


def test_a_module_under_two_names_is_edited_once(model: Stack, tmp_path: Path):
    expected = model.first.linear(X) * 2
    edit(model, TWICE, "first", "again", folder=tmp_path)
    assert torch.equal(model.again(X), expected)
    revert(model)
    assert type(model.again) is Layer


def test_edits_stand_on_one_another_and_are_taken_back_in_order(model: Stack, tmp_path: Path):
    once = model.first(X)
    for factor in (2, 3, 5):
        edit(model, whole(f"return {factor} * self.linear(x)"), "first", folder=tmp_path)
        assert torch.equal(model.first(X), factor * once)
    edit(model, TWICE, "first", folder=tmp_path)
    assert torch.equal(model.first(X), 10 * once)
    assert [each.number for each in revert(model, count=2)] == [4, 3]
    assert torch.equal(model.first(X), 3 * once)
    edit(model, TWICE, "second", folder=tmp_path)
    assert [(each.number, each.reverted) for each in history(model)] == [
        (1, False),
        (2, False),
        (3, True),
        (4, True),
        (5, False),
    ]
    assert [each.number for each in revert(model, count=None)] == [5, 2, 1]
    assert type(model.first) is type(model.second) is Layer
    assert torch.equal(model.first(X), once)


def test_the_text_of_a_derived_edit_replaces_it_when_edited_again(model: Stack, tmp_path: Path):
    once = model.first(X)
    edit(model, TWICE, "first", folder=tmp_path)
    edit(model, module_source(model, "first").text.replace("2 *", "3 *"), "first", folder=tmp_path)
    assert torch.equal(model.first(X), 3 * once)


def test_hooks_mode_state_and_added_attributes(model: Stack, tmp_path: Path):
    calls = []
    model.first.register_forward_hook(lambda *_: calls.append(1))
    model.first.counter = 7
    model.eval()
    text = TWICE.replace("        return", "        self.counter, self.seen = 0, True\n        return")
    edit(model, text, "first", folder=tmp_path)
    model.first(X)
    assert (calls, model.first.seen, model.first.training) == ([1], True, False)
    model.first.mark = "set by somebody else"
    model.train()
    revert(model)
    assert (model.first.counter, model.first.mark, model.first.training) == (7, "set by somebody else", True)
    assert not hasattr(model.first, "seen")
    model.first(X)
    assert calls == [1, 1]


def test_modules_that_the_edit_registers_later_go_with_it(model: Stack, tmp_path: Path):
    lines = "        if not hasattr(self, 'late'):\n            self.late = nn.Linear(3, 3)\n"
    lines += "            self.register_buffer('seen', x.detach())\n        return"
    edit(model, TWICE.replace("        return", lines), "first", folder=tmp_path)
    model.first(X)
    assert {"late.weight", "seen"} <= set(model.first.state_dict())
    revert(model)
    assert set(model.first.state_dict()) == {"linear.weight", "linear.bias"}


def test_a_copy_has_a_history_of_its_own(model: Stack, tmp_path: Path):
    once = model.first(X)
    edit(model, TWICE, "first", folder=tmp_path)
    other = copy.deepcopy(model)
    revert(other)
    assert torch.equal(other.first(X), once)
    assert torch.equal(model.first(X), 2 * once)
    assert [each.reverted for each in history(model)] == [False]


def test_all_targets_or_none(model: Stack, tmp_path: Path, monkeypatch):
    patch = make_patch(model, "first", TWICE, targets=["first", "second"])
    swap = type(model.second).__setattr__

    def refuse(self: nn.Module, name: str, value: object) -> None:
        if name == "__class__" and self is model.second:
            raise TypeError("object layout differs")
        swap(self, name, value)

    monkeypatch.setattr(Layer, "__setattr__", refuse)
    with pytest.raises(PatchError, match="cannot take the edited class"):
        apply(model, patch, folder=tmp_path)
    assert type(model.first) is type(model.second) is Layer
    assert history(model) == ()


def test_a_patch_for_another_class_or_place_is_refused(model: Stack, tmp_path: Path):
    patch = make_patch(model, "first", TWICE)
    with pytest.raises(PatchError, match="not of the class"):
        apply(model, dataclasses.replace(patch, targets=("first", "first.linear")), folder=tmp_path)
    with pytest.raises(PatchError, match="no module 'third'"):
        apply(model, dataclasses.replace(patch, targets=("third",)), folder=tmp_path)
    with pytest.raises(PatchError, match="no module"):
        make_patch(model, "first", TWICE, targets=["nowhere"])
    assert type(model.first) is Layer


def test_a_failed_validation_stops_it_with_its_line(model: Stack, tmp_path: Path):
    failed = Validation(ok=False, problems=(PatchProblem(check="shape", message="Two rows.", line=3),))
    with pytest.raises(PatchError) as caught:
        edit(model, TWICE, "first", folder=tmp_path, validation=failed)
    assert (caught.value.line, caught.value.received) == (3, "line 3: Two rows.")
    edit(model, TWICE, "first", folder=tmp_path, validation=Validation(ok=True))


def test_a_forward_replaced_on_the_object_is_not_edited_in_vain(model: Stack, tmp_path: Path):
    model.first.forward = lambda x: x
    with pytest.raises(PatchError, match="replaced on the object"):
        edit(model, TWICE, "first", folder=tmp_path)


def test_a_base_that_changed_is_merged_or_refused(model: Stack, tmp_path: Path):
    text = module_source(model, "first").text
    mine = make_patch(model, "first", text.replace("return self.linear(x)", "return self.linear(x) + 1"))
    edit(model, "# a note\n" + text, "first", folder=tmp_path)
    applied = apply(model, mine, folder=tmp_path)
    assert applied.patch.base.startswith("# a note\n")
    assert applied.patch.source == "# a note\n" + mine.source
    assert torch.equal(model.first(X), model.first.linear(X) + 1)
    revert(model, count=None)
    edit(model, text.replace("return self.linear(x)", "return -self.linear(x)"), "first", folder=tmp_path)
    with pytest.raises(PatchError, match="1 place") as caught:
        apply(model, mine, folder=tmp_path)
    assert "return -self.linear(x)" in str(caught.value)
    assert len([each for each in history(model) if not each.reverted]) == 1


def test_targets_whose_sources_went_apart_are_not_given_one_merged_edit(model: Stack, tmp_path: Path):
    text = module_source(model, "first").text
    patch = make_patch(model, "first", text.replace("(x)\n", "(x) + 1\n"), targets=["first", "second"])
    edit(model, "# a note\n" + text, "first", folder=tmp_path)
    with pytest.raises(PatchError, match="no longer have the same source"):
        apply(model, patch, folder=tmp_path)


def test_what_was_changed_by_other_means_is_not_reverted_silently(model: Stack, tmp_path: Path):
    edit(model, TWICE, "first", "second", folder=tmp_path)
    patched = type(model.first)
    model.second.__class__ = Layer
    with pytest.raises(PatchError, match="by other means"):
        revert(model)
    assert type(model.first) is patched
    assert not history(model)[0].reverted


@pytest.mark.parametrize("count", [0, 2, -1])
def test_more_than_there_is_cannot_be_taken_back(model: Stack, tmp_path: Path, count: int):
    edit(model, TWICE, "first", folder=tmp_path)
    with pytest.raises(PatchError, match="not that many"):
        revert(model, count=count)


def test_the_model_itself_can_be_edited(model: Stack, tmp_path: Path):
    expected = model(X) + 1
    edit(
        model,
        "class S(Stack):\n    def forward(self, x):\n        return super().forward(x) + 1\n",
        "",
        folder=tmp_path,
    )
    assert torch.equal(model(X), expected)
    revert(model)
    assert type(model) is Stack


def test_a_patch_read_from_its_file_applies(model: Stack, tmp_path: Path):
    once = model.second(X)
    apply(model, Patch.from_json(make_patch(model, "second", TWICE).to_json()), folder=tmp_path, step=12)
    assert torch.equal(model.second(X), 2 * once)
    assert history(model)[0].step == 12
