"""The editor headless: what the page is told, checks as one types, trials, edits taken and taken back, nothing lost."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from darkit_nb import build_model, spikify
from darkit_nb.errors import ModelError, PatchError
from darkit_nb.nn.neuron import LIF
from darkit_nb.widgets import CodeEditor
from tests.widgets.edited import Layer, Mixer, Net, inputs

MIXER = "layers.1.mixer"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of edits go below the working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def editor() -> CodeEditor:
    torch.manual_seed(0)
    return CodeEditor(Net(), inputs(), path=MIXER)


def ask(editor: CodeEditor, do: str, **arguments: Any) -> None:
    """A message of the page, and what it set off."""
    editor.pane._receive(None, {"do": do, **arguments}, [])
    for thread in threading.enumerate():
        if thread.name == f"darkit-{do}":
            thread.join(60)


def output(editor: CodeEditor) -> torch.Tensor:
    with torch.no_grad():
        return editor.desk.root(inputs())


def tanh(editor: CodeEditor) -> str:
    return editor.code.replace("torch.relu", "torch.tanh")


def test_a_module_is_opened_with_its_class_and_what_it_shares(editor: CodeEditor):
    source = editor.pane.source
    assert source["text"] == source["original"] == editor.code
    assert source["text"].startswith("class Mixer(nn.Module):")
    assert (source["class_name"], source["same_class"]) == ("Mixer", 3)
    assert source["layers"] == {"first": 0, "last": 2, "pattern": "layers.*.mixer"}
    assert Path(source["file"]).name == "edited.py"
    assert editor.tree is not None
    assert editor.tree.selected == MIXER
    editor.tree.selected = "head"
    assert editor.path == "head"
    assert editor.pane.source["layers"] is None
    with pytest.raises(ModelError, match="no module"):
        editor.path = "layers.7"
    ask(editor, "open", path="layers.7")
    assert "no module" in editor.pane.problem["message"]
    assert editor.path == "head"


def test_faults_are_told_as_one_types_and_the_model_is_left_alone(editor: CodeEditor):
    before = output(editor)
    ask(editor, "check", text=editor.code)
    assert editor.pane.checked == {"path": MIXER, "problems": []}
    ask(editor, "check", text=editor.code.replace("torch.relu(self.up", "tarch.relu(self.upp"))
    lines = [(each["line"], each["check"]) for each in editor.pane.checked["problems"]]
    assert lines == [(10, "names"), (10, "attributes")]
    ask(editor, "check", text="class Mixer(nn.Module:\n  pass")
    assert [each["check"] for each in editor.pane.checked["problems"]] == ["syntax"]
    assert torch.equal(output(editor), before)


def test_an_edit_is_tried_taken_and_taken_back(editor: CodeEditor):
    net, before = editor.desk.root, output(editor)
    mixers = [layer.mixer for layer in net.layers]
    edited = tanh(editor)
    ask(editor, "validate", text=edited)
    assert editor.pane.outcome["state"] == "done", editor.pane.outcome["problems"]
    assert editor.pane.past == []
    assert torch.equal(output(editor), before)

    ask(editor, "apply", text=edited)
    assert editor.pane.outcome["said"] == f"Edit 1 applied to {MIXER}"
    assert editor.pane.drafts == {}
    assert editor.code == edited == editor.pane.source["text"]
    assert editor.pane.source["original"] != edited
    assert not torch.equal(output(editor), before)
    assert net.layers[1].mixer is mixers[1]
    assert isinstance(mixers[1], Mixer)
    assert [(each["number"], each["reverted"]) for each in editor.pane.past] == [(1, False)]
    assert "+        return self.down(torch.tanh(self.up(x)))" in editor.pane.past[0]["diff"]

    ask(editor, "revert", count=1)
    assert torch.equal(output(editor), before)
    assert type(mixers[1]) is Mixer
    assert editor.pane.past[0]["reverted"]
    assert editor.code == editor.pane.source["original"]
    ask(editor, "again", number=1)
    assert editor.code == edited


def test_an_edit_is_done_when_its_tree_is_drawn_again_so_the_next_one_is_never_refused(editor: CodeEditor):
    seen: list[str] = []

    def look() -> None:
        seen.append(editor.pane.outcome["state"])
        raise ValueError("no tree")

    editor.pane.on_edited = look
    ask(editor, "apply", text=tanh(editor))
    assert seen == ["running"]
    assert editor.pane.outcome["state"] == "done"
    assert "no tree" in editor.pane.problem["message"]
    ask(editor, "check", text=editor.code)  # nobody pressed anything
    assert editor.pane.problem is not None
    ask(editor, "dismiss")
    assert editor.pane.problem is None
    editor.pane.revert()
    assert seen == ["running", "done"]


def test_a_bad_edit_names_its_line_and_stays_in_the_editor(editor: CodeEditor):
    before = output(editor)
    bad = editor.code.replace("return self.down(", "return self.down.weight @ (")
    ask(editor, "apply", text=bad)
    outcome = editor.pane.outcome
    assert outcome["state"] == "failed"
    assert [each["line"] for each in outcome["problems"]] == [10]
    assert outcome["for_text"] == bad
    assert editor.code == bad
    assert editor.pane.past == []
    assert torch.equal(output(editor), before)
    ask(editor, "revert", count=1)
    assert editor.pane.outcome["problems"][0]["message"] == "There are not that many patches to take back."


def test_all_of_a_class_or_some_layers_are_edited(editor: CodeEditor):
    net = editor.desk.root
    editor.pane.target = {"mode": "layers", "layers": "1:"}
    ask(editor, "apply", text=tanh(editor))
    assert [type(layer.mixer) is Mixer for layer in net.layers] == [True, False, False]
    assert editor.pane.past[0]["targets"] == ["layers.1.mixer", "layers.2.mixer"]
    editor.path = "layers.0"
    assert editor.pane.target["mode"] == "this"
    editor.pane.target = {"mode": "class", "layers": ""}
    ask(editor, "apply", text=editor.code.replace("return x +", "return 0.5 * x +"))
    assert [type(layer) is Layer for layer in net.layers] == [False, False, False]
    editor.path = "layers.0"
    editor.pane.target = {"mode": "layers", "layers": "8:9"}
    ask(editor, "apply", text=editor.code.replace("0.5", "0.25"))
    assert "no layers 8:9" in editor.pane.problem["message"]
    ask(editor, "revert", count=2)
    assert {type(layer.mixer) for layer in net.layers} == {Mixer}


def test_a_new_parameter_is_listed_and_reaches_the_optimizer():
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    editor = CodeEditor(net, inputs(), optimizer=optimizer, path=MIXER)
    text = editor.code.replace(
        "    def forward", "        self.gate = nn.Parameter(torch.zeros(width))\n\n    def forward"
    ).replace("return self.down", "return torch.sigmoid(self.gate) * self.down")
    ask(editor, "apply", text=text)
    assert editor.pane.outcome["new"] == [f"{MIXER}.gate"], editor.pane.outcome
    assert f"{MIXER}.up.weight" in editor.pane.outcome["kept"]
    held = {id(each) for group in optimizer.param_groups for each in group["params"]}
    assert id(net.layers[1].mixer.gate) in held


def test_what_is_written_outlives_the_page_other_modules_and_edits_of_elsewhere(editor: CodeEditor):
    edited = tanh(editor)
    editor.pane.set_state({"drafts": {MIXER: edited}})  # as the page does it
    editor.path = "head"
    assert editor.pane.drafts == {MIXER: edited}
    editor.path = MIXER
    assert editor.code == edited
    assert editor.pane.get_state("drafts")["drafts"] == {MIXER: edited}
    ask(editor, "apply", text=edited + "  broken")
    assert editor.code == edited + "  broken"

    stale = editor.pane.opened
    other = CodeEditor(editor.desk.root, inputs(), path=MIXER)
    other.code = other.code.replace("torch.relu", "torch.sigmoid")
    assert other.pane.apply().ok
    assert stale is editor.pane.opened
    ask(editor, "apply", text=edited)
    assert editor.pane.outcome["problems"][0]["check"] == "base"  # both changed this line: a conflict
    assert editor.code == edited
    ask(editor, "apply", text=stale.text.replace('"""Mixes features."""', '"""Mixes."""'))
    assert editor.pane.outcome["state"] == "done", editor.pane.outcome["problems"]
    assert "torch.sigmoid" in editor.code  # merged
    assert '"""Mixes."""' in editor.code


def test_a_long_trial_can_be_given_up(editor: CodeEditor):
    good = tanh(editor)
    slow = editor.code.replace("        return", "        while True:\n            x = x + 0\n        return")
    editor.pane._receive(None, {"do": "validate", "text": slow}, [])
    until(lambda: "process" in editor.pane.outcome["said"])
    editor.pane._receive(None, {"do": "validate", "text": slow}, [])
    assert "done already" in editor.pane.problem["message"]
    time.sleep(0.5)
    editor.pane._receive(None, {"do": "cancel"}, [])
    until(lambda: editor.pane.outcome["state"] != "running")
    assert editor.pane.outcome["state"] == "cancelled"
    ask(editor, "validate", text=good)
    assert editor.pane.outcome["state"] == "done", editor.pane.outcome["problems"]


def until(true: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_neurons_are_edited_without_code():
    model = spikify(build_model("spike-llama-nano"))
    editor = CodeEditor(model, torch.arange(8)[None], path="model.layers.0.mlp")
    fields = {each["name"]: each for each in editor.pane.spec["fields"]}
    assert editor.pane.spec["modules"] == 3
    assert (fields["num_levels"]["value"], fields["num_levels"]["most"]) == (16, 256)
    assert "radix" in fields["coding"]["choices"]
    ask(editor, "spec", changes={"num_levels": 4, "num_steps": fields["num_steps"]["value"]})
    assert editor.pane.past[0]["diff"] == "+num_levels = 4\n"
    assert model.model.layers[0].mlp.up_proj.spec.num_levels == 4
    assert model.model.layers[0].self_attn.q_proj.spec.num_levels == 16
    assert editor.pane.spec["fields"][0]["value"] == 4
    ask(editor, "spec", changes={"num_levels": 1})
    assert "num_levels cannot be 1" in editor.pane.problem["message"]
    assert "256" in editor.pane.problem["expected"]
    ask(editor, "spec", changes={"colour": 1})
    assert "no settings" in editor.pane.problem["message"]
    ask(editor, "revert", count=1)
    assert model.model.layers[0].mlp.up_proj.spec.num_levels == 16
    editor.path = "model.norm"
    assert editor.pane.spec is None


def test_a_temporal_neuron_has_its_own_settings():
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), LIF(threshold=0.8))
    editor = CodeEditor(model, path="1")
    values = {each["name"]: each["value"] for each in editor.pane.spec["fields"]}
    assert values["threshold"] == pytest.approx(0.8)
    assert values["surrogate"] == "arctan"
    ask(editor, "spec", changes={"threshold": 0.5, "surrogate": "triangle"})
    assert editor.pane.past[0]["label"].startswith("threshold=0.5")
    assert editor.tree is None


def test_before_and_after_are_measured_where_that_is_asked_for(editor: CodeEditor):
    editor.pane.measure = True
    ask(editor, "validate", text=tanh(editor))
    assert editor.pane.outcome["state"] == "done", editor.pane.outcome["problems"]
    measured = {each["name"]: each for each in editor.pane.outcome["effect"]}
    assert all(each["before"] and each["after"] for each in measured.values())
    assert measured


def test_a_fork_is_saved_under_a_checked_name(editor: CodeEditor, here: Path):
    ask(editor, "apply", text=tanh(editor))
    ask(editor, "fork", name="tanh-mixer")
    assert editor.pane.fork["patches"] == 1
    assert Path(editor.pane.fork["path"]).resolve() == (here / "forks" / "tanh-mixer").resolve()
    ask(editor, "fork", name="../outside")
    assert editor.pane.problem is not None
    assert not (here / "outside").exists()


def test_it_is_text_and_a_picture_without_a_kernel(editor: CodeEditor):
    assert "class Mixer" in editor.text()
    assert "edited.py" in editor.snapshot()
    editor.code = tanh(editor)
    assert "+        return self.down(torch.tanh(self.up(x)))" in editor.text()
    picture = editor.snapshot()
    assert "torch.tanh" in picture
    assert "<script" not in picture
    empty = CodeEditor(Net())
    assert empty.text() == "CodeEditor of Net: no module is open."
    assert empty.tree is None
    with pytest.raises(PatchError, match="No module is open"):
        empty.code = "x"
    with pytest.raises(PatchError, match="Only models and runs"):
        CodeEditor(3)


def test_a_class_without_source_says_so():
    editor = CodeEditor(torch.nn.Sequential(torch.jit.script(torch.nn.Linear(2, 2))), path="0")
    assert editor.pane.source["text"] == ""
    assert "no source" in editor.pane.source["reason"]


def test_the_page_is_answered_where_a_name_is_completed(editor: CodeEditor, monkeypatch: pytest.MonkeyPatch):
    sent: list[Any] = []
    monkeypatch.setattr(editor.pane, "send", sent.append)
    text = editor.code.replace("torch.relu", "torch.tan")
    ask(editor, "complete", id=7, text=text, at=text.index("torch.tan") + 9)
    assert sent[0]["completions"] == 7
    assert sent[0]["from"] == text.index("torch.tan") + 6
    assert ["tanh", "function", "", 0] in [list(each) for each in sent[0]["items"]]


def test_the_editor_loads_no_torch():
    program = "import sys, darkit_nb.widgets.code_editor, darkit_nb.magics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=120).returncode == 0
