"""A run's modules are read, checked and completed without its trainer: from its trace, its files and its history."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from darkit_nb import RunConfig, trace_model
from darkit_nb.errors import ModelError
from darkit_nb.records.patch import Patch, PatchProblem, Validation
from darkit_nb.runs import Run, RunDirectory
from darkit_nb.runs.control import CommandReader, acknowledge
from darkit_nb.runs.patching import is_dry_run, store_patch
from darkit_nb.widgets.edit_desk import Edit, Progress
from darkit_nb.widgets.edit_run import RunDesk
from tests.widgets.edited import Net, inputs

MIXER = "layers.1.mixer"


@pytest.fixture
def desk(tmp_path: Path) -> RunDesk:
    run = Run(RunDirectory.create(RunConfig(runs_dir=str(tmp_path)), command=""))
    return RunDesk(run, trace_model(Net(), inputs()))


def edit_the_run(desk: RunDesk, old: str, new: str, step: int) -> Patch:
    """As its trainer would have done it."""
    opened = desk.open(MIXER)
    facts = {"module": opened.module, "class_name": opened.class_name, "base": opened.text}
    patch = Patch(kind="code", targets=(MIXER,), source=opened.text.replace(old, new), **facts)  # type: ignore[arg-type]
    number = store_patch(desk.root.directory, patch)
    desk.root.directory.append_event("patch", number=number, step=step, patch=patch.id, label=patch.label)
    desk.learn(trace_model(Net(), inputs()))
    return patch


def test_a_class_is_read_from_its_file_with_the_names_around_it(desk: RunDesk):
    opened = desk.open("model.layers.1.mixer")
    assert opened.text.startswith("class Mixer(nn.Module):")
    assert opened.text == opened.original
    assert (opened.class_name, opened.same_class) == ("Mixer", tuple(f"layers.{n}.mixer" for n in range(3)))
    assert set(opened.names or ()) >= {"torch", "nn", "Tensor", "Layer", "Net"}
    assert opened.layers == (0, 2)
    assert desk.problems(opened, opened.text) == []
    found = desk.problems(opened, opened.text.replace("torch.relu", "tarch.relu"))
    assert [(each.check, each.line) for each in found] == [("names", 10)]
    with pytest.raises(ModelError, match="no module"):
        desk.open("layers.9.mixer")


def test_what_was_edited_before_is_the_text_that_is_edited_next(desk: RunDesk):
    before = desk.open(MIXER).text
    edit_the_run(desk, "torch.relu", "torch.tanh", 5)
    last = edit_the_run(desk, "torch.tanh", "torch.sigmoid", 9)
    opened = desk.open(MIXER)
    assert opened.text == last.source
    assert opened.original == before
    assert [(each.number, each.step, each.reverted) for each in desk.history()] == [(1, 5, False), (2, 9, False)]
    desk.root.directory.append_event("revert", number=2, step=11, reason="failed", problem={"message": "NaN"})
    desk.learn(trace_model(Net(), inputs()))
    assert "torch.tanh" in desk.open(MIXER).text
    assert desk.history()[1].problem == {"message": "NaN"}


def test_submodules_and_names_of_the_file_are_completed(desk: RunDesk):
    opened = desk.open(MIXER)
    text = opened.text + "        self."
    start, items = desk.complete(opened, text, len(text))
    assert start == len(text)
    assert [item[:3] for item in items[:2]] == [("up", "instance", "Linear"), ("down", "instance", "Linear")]
    text = opened.text + "        Lay"
    assert "Layer" in [item[0] for item in desk.complete(opened, text, len(text))[1]]


def answer(run: RunDirectory, found: Validation) -> None:
    """As its trainer would have done it at a step boundary."""
    reader = CommandReader(run, attempt=1)
    while not (commands := reader.read()):
        time.sleep(0.01)
    assert is_dry_run(commands[0])
    acknowledge(run, commands[0], step=4, dry_run=True, validation=found.to_dict())


def test_what_the_run_found_in_a_trial_is_told_and_nothing_is_applied(desk: RunDesk):
    run = desk.root.directory
    run.begin_attempt()
    opened = desk.open(MIXER)
    edit = Edit(opened=opened, text=opened.text.replace("torch.relu", "torch.tanh"), targets=(MIXER,), effect=True)
    wrong = PatchProblem(check="shape", message="The output is [2, 4].", line=10, expected="[2, 8]")
    good = Validation(ok=True, new=("gate",), kept=("up.weight",), dropped=("down.bias",), notes=("no GPU here",))
    said: list[str] = []
    for found in (good, Validation(ok=False, problems=(wrong,), new=("gate",))):
        trainer = threading.Thread(target=answer, args=(run, found))
        trainer.start()
        report = desk.validate(edit, Progress(said.append))
        trainer.join()
        assert report.ok == found.ok
        assert (report.new, report.kept, report.dropped) == (found.new, found.kept, found.dropped)
        assert list(report.problems) == list(found.problems)
        assert "charts" in report.notes[-1]
    assert "torch.tanh" in report.excerpt[10]
    assert "Waiting for the run to try it" in said[0]
    assert desk.root.patches == ()
    assert not run.patches_path.exists()
    given_up = Progress()
    given_up.cancel()
    assert "nothing was asked of its model" in desk.validate(edit, given_up).problems[0].message


def test_a_run_that_does_not_train_says_so_and_keeps_nothing(desk: RunDesk):
    opened = desk.open(MIXER)
    edit = Edit(opened=opened, text=opened.text.replace("torch.relu", "torch.tanh"), targets=(MIXER,))
    tried = desk.validate(edit, Progress())
    assert (tried.ok, tried.title) == (False, "Not tried; the run is as it was")
    assert "is not training" in tried.problems[0].message
    report = desk.apply(edit, Progress())
    assert not report.ok
    assert "is not training" in report.problems[0].message
    assert desk.history() == ()
    assert desk.settings(MIXER) is None
    assert not desk.revert().ok
    same = Edit(opened=opened, text=opened.text, targets=(MIXER,))
    assert desk.apply(same, Progress()).title == "The module has this text already"
