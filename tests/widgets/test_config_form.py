"""The form from the kernel's side: what is typed arrives as messages, what is shown leaves as traits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from darkit_nb.config import RunConfig, SettingsError, load_config
from darkit_nb.config.draft import FIELDS
from darkit_nb.errors import ConfigError
from darkit_nb.plugins import registry
from darkit_nb.runs.run import Run
from darkit_nb.widgets.config_form import ConfigForm
from darkit_nb.widgets.form_layout import form_layout
from tests.runs.test_importing import MODEL, zip_of
from tests.runs.test_outlook import free
from tests.train.conftest import TINY


def send(form: ConfigForm, do: str, *, buffers: tuple[bytes, ...] = (), **rest: Any) -> None:
    """What the front end sends, after a trip through JSON."""
    form._receive(form, json.loads(json.dumps({"do": do, **rest})), [memoryview(each) for each in buffers])


def type_into(form: ConfigForm, key: str, text: str, edit: int = 1) -> None:
    send(form, "write", edits=[{"key": key, "text": text}], client="c", edit=edit)


def recipe(form: ConfigForm, name: str) -> str:
    return next(each["text"] for each in form.state["recipes"] if each["name"] == name)


def test_it_starts_with_the_defaults_or_what_it_is_given() -> None:
    assert ConfigForm().config == RunConfig()
    config = RunConfig(spike=None).replace({"train.steps": 7})
    form = ConfigForm(config)
    assert form.config == config
    assert form.state["off"] == ["spike"]
    assert set(form.state["changed"]) == {"spike", "train.steps"}


def test_typing_changes_the_configuration_and_the_command() -> None:
    form = ConfigForm()
    type_into(form, "train.steps", "200", edit=4)
    assert form.config == RunConfig().replace({"train.steps": 200})
    assert recipe(form, "Train") == "darkit-nb train train.steps=200"
    assert form.state["seen"] == {"c": 4}
    send(form, "write", edits=[{"key": "data.streaming", "on": True}, {"key": "spike", "on": False}])
    assert recipe(form, "Train") == "darkit-nb train spike=null data.streaming=true train.steps=200"
    assert "RunConfig().replace(" in recipe(form, "Python")
    assert load_config(None, ["spike=null", "data.streaming=true", "train.steps=200"]) == form.config


def test_a_wrong_value_is_explained_beside_its_field_and_blocks_the_start(tmp_path: Path) -> None:
    form = ConfigForm(RunConfig(runs_dir=str(tmp_path / "runs")))
    type_into(form, "train.steps", "0")
    type_into(form, "train.learning_rate", "fast", edit=2)
    assert form.config is None
    assert set(form.errors) == {"train.steps", "train.learning_rate"}
    assert form.state["errors"]["train.steps"]["brief"] == "needs an integer ≥ 1"
    assert form.state["errors"]["train.learning_rate"]["brief"] == "needs a number > 0, ≤ 10"
    assert form.state["texts"]["train.learning_rate"] == "fast"
    assert form.state["recipes"] == []
    send(form, "start", click="a")
    assert form.problem is not None
    assert "2 settings cannot be used" in form.problem["message"]
    assert form.answered == ["a"]
    assert (form.run_id, (tmp_path / "runs").exists()) == ("", False)
    with pytest.raises(SettingsError):
        form.start()
    with pytest.raises(SettingsError):
        form.save(tmp_path / "x.yaml")


def test_problems_across_fields_stand_at_theirs() -> None:
    form = ConfigForm()
    form.values = {"data.max_train_tokens": 10, "train.device": "cpu", "train.precision": "float16"}
    assert set(form.errors) == {"data.max_train_tokens", "train.precision"}
    form.set("data.max_train_tokens", None)
    form.set("train.precision", "bfloat16")
    assert form.errors == {}


def test_values_can_be_read_and_set_from_python() -> None:
    form = ConfigForm()
    assert form.values["train.steps"] == 1000
    assert set(form.values) == set(FIELDS)
    form.set("spike", None)
    assert form.values["spike"] is None
    assert not any(key.startswith("spike.") for key in form.values)
    before = form.config
    with pytest.raises(SettingsError, match=r"train\.stepz"):
        form.values = {"train.steps": 5, "train.stepz": 5}
    assert form.config == before


def test_the_configuration_can_be_watched_and_assigned() -> None:
    form, seen = ConfigForm(), []
    form.observe(lambda change: seen.append(change["new"]), "config")
    form.set("train.steps", 0)
    form.config = RunConfig(seed=4)
    assert seen == [None, RunConfig(seed=4)]
    assert form.state["texts"]["seed"] == "4"
    assert form.state["undo"] == "the assignment"
    with pytest.raises(ConfigError, match="cannot be emptied"):
        form.config = None


def test_resets() -> None:
    form = ConfigForm(RunConfig(spike=None).replace({"train.steps": 3, "seed": 5}))
    send(form, "reset", keys=["train.steps"])
    assert form.config == RunConfig(spike=None, seed=5)
    send(form, "reset", keys=["seed", "spike"])
    assert form.config == RunConfig()
    send(form, "undo")
    assert form.config == RunConfig(spike=None, seed=5)
    send(form, "undo")  # there is only one step
    assert form.config == RunConfig(spike=None, seed=5)


def test_starting_points() -> None:
    form = ConfigForm(RunConfig(name="mine", runs_dir="elsewhere").replace({"train.steps": 7}))
    send(form, "apply", name="ternary")
    assert form.config is not None
    assert (form.config.train.steps, form.values["spike.signed"]) == (7, True)
    form.set("train.steps", 0)  # a starting point for everything mends what is wrong
    form.apply("first-spikes")
    assert form.config is not None
    assert (form.config.train.steps, form.config.runs_dir) == (60, "elsewhere")
    send(form, "apply", name="nothing")
    assert form.problem is not None
    assert "no starting point" in form.problem["message"]


def test_yaml_there_and_back(tmp_path: Path) -> None:
    form = ConfigForm(RunConfig().replace({"train.steps": 11, "spike.num_levels": 4}))
    path = form.save(tmp_path / "deep" / "run.yaml")
    assert load_config(path) == form.config
    other = ConfigForm()
    other.load(path)
    assert other.config == form.config
    third = ConfigForm()
    send(third, "yaml", text=path.read_text(), name="run.yaml")
    assert third.config == form.config
    assert third.state["undo"] == "loading run.yaml"
    assert recipe(third, "YAML") == path.read_text()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("schema: 2\nnew: 1\n", "schema 2"),
        ("train: [1", "not readable YAML"),
        ("- 1", "holds no settings"),
        ("", "holds no settings"),
        ("train: {steps: 0, stepz: 1}", "2 settings"),
    ],
)
def test_yaml_that_cannot_be_used_changes_nothing(text: str, says: str, tmp_path: Path) -> None:
    form = ConfigForm(RunConfig(seed=3))
    before = form.state
    send(form, "yaml", text=text, name="their.yaml")
    assert form.problem is not None
    assert says in form.problem["message"]
    assert form.state == before
    (tmp_path / "their.yaml").write_text(text)
    if text:
        with pytest.raises(ConfigError, match=says):
            form.load(tmp_path / "their.yaml")
    assert form.config == RunConfig(seed=3)


def test_what_does_not_fit_can_be_made_to_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 700 * 2**20)
    form = ConfigForm(RunConfig().replace({"train.batch_size": 512, "train.device": "cpu"}))
    note = form.state["note"]
    assert not note["fits"]
    send(form, "fit", settings=note["fix"])
    assert form.state["note"]["fits"]
    assert form.config is not None
    train = form.config.train
    assert train.batch_size * train.gradient_accumulation == 512


def test_a_plug_in_that_fails_is_named_and_the_others_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry("model").failures, "broken (nowhere:x)", "ImportError: no")
    form = ConfigForm()
    assert {"kind": "model", "plugin": "broken (nowhere:x)", "why": "ImportError: no"} in form.layout_data["failures"]
    assert form.config == RunConfig()


def test_every_setting_has_one_place_and_the_registered_parts_are_offered() -> None:
    layout = form_layout()
    placed = [field["key"] for group in layout["groups"] for field in (*group["first"], *group["more"])]
    assert sorted(placed) == sorted(FIELDS)
    fields = {field["key"]: field for group in layout["groups"] for field in (*group["first"], *group["more"])}
    assert {option["value"] for option in fields["data.dataset"]["options"]} >= {"stdlib", "text:", "", "fineweb"}
    assert all(option["about"] for option in fields["model.preset"]["options"])
    assert fields["train.steps"]["range"] == "≥ 1"
    assert fields["spike.num_levels"]["range"] == "2 … 256"
    assert all(field["about"] for field in fields.values())
    assert [group["section"] for group in layout["groups"] if group["collapsed"]] == [
        "evaluation",
        "monitor",
        "checkpoint",
    ]


def test_text_and_picture() -> None:
    form = ConfigForm(RunConfig(name="a-name"))
    form.set("model.overrides", {"<b>": "&"})
    text = repr(form)
    for part in ("model.overrides", "<b>: '&'", "1.02 M parameters", "darkit-nb train", "import darkit_nb as dk"):
        assert part in text
    picture = form.snapshot()
    assert "&lt;b&gt;" in picture
    assert "<b>" not in picture
    assert "<script" not in picture
    form.set("train.steps", 0)
    assert "train.steps: needs an integer ≥ 1" in form.text()
    assert "needs an integer ≥ 1" in form.snapshot()


@pytest.fixture
def tiny(tmp_path: Path) -> RunConfig:
    return RunConfig(runs_dir=str(tmp_path / "runs")).replace({**TINY, "train.steps": 2, "checkpoint.every": 0})


def test_one_click_starts_one_run(tiny: RunConfig) -> None:
    form = ConfigForm(tiny)
    seen: list[str] = []
    form.observe(lambda change: seen.append(change["new"]), "run_id")
    for click in ("first", "first", "first"):
        send(form, "start", click=click)
    assert form.problem is None
    assert form.answered == ["first"]
    assert seen == [form.run_id]
    run = Run(form.run_id)
    run.wait(timeout_s=400)
    assert [folder for folder in Path(tiny.runs_dir).iterdir() if folder.is_dir()] == [run.root]
    assert run.config == tiny
    assert f"darkit-nb generate {run.root} " in recipe(form, "Use")
    assert load_config(run.root / "config.yaml") == form.config


def test_a_start_that_fails_says_why_and_can_be_tried_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    form = ConfigForm(RunConfig(runs_dir=str(tmp_path / "file" / "runs")))
    send(form, "start", click="a")
    assert form.problem is not None
    assert "cannot be written" in form.problem["message"]
    assert (form.answered, form.run_id) == (["a"], "")
    send(form, "start", click="b")
    assert form.answered == ["a", "b"]


def test_an_archive_becomes_a_run_and_its_weights_can_be_used(tmp_path: Path) -> None:
    packed = zip_of(tmp_path / "My Model.zip", MODEL).read_bytes()
    form = ConfigForm(RunConfig(runs_dir=str(tmp_path / "runs")))
    stages: list[tuple[str, int]] = []
    form.observe(lambda change: stages.append((change["new"]["stage"], change["new"]["received"])), "importing")
    send(form, "upload", upload="u", name="My Model.zip", size=len(packed))
    for offset in range(0, len(packed), 300):
        send(form, "piece", upload="u", offset=offset, buffers=(packed[offset : offset + 300],))
    form._import.wait()
    assert form.problem is None
    assert form.importing is not None
    assert form.importing["stage"] == "done"
    assert stages[0] == ("upload", 0)
    assert [stage for stage, _ in stages][-2:] == ["import", "done"]
    run = Run(form.imported)
    assert run.name == "My-Model"
    assert not list((tmp_path / "runs").glob(".upload-*"))
    send(form, "use_import")
    assert form.importing is None
    assert form.config is not None
    assert form.config.model.path == str(run.directory.require_checkpoint().path.resolve())
    assert form.config.data.tokenizer == form.config.model.path
    assert form.config.spike == RunConfig().spike


def test_showing_the_form_is_quick_and_needs_nothing_heavy() -> None:
    program = """
import json, sys, time
import anywidget, IPython  # what every kernel with widgets has
from darkit_nb.widgets.config_form import ConfigForm
ConfigForm()
start = time.perf_counter()
form = ConfigForm(); form._live_bundle(); form._snapshot_bundle()
seconds = time.perf_counter() - start
heavy = ("torch", "transformers", "plotly", "pandas", "datasets", "tokenizers")
print(json.dumps([seconds, [name for name in heavy if name in sys.modules]]))
"""
    answers = [json.loads(subprocess.check_output([sys.executable, "-c", program], text=True)) for _ in range(3)]
    assert answers[0][1] == []
    assert min(seconds for seconds, _ in answers) < 0.150
