"""A configuration being written: wrong values stay, and say what is wrong beside their field."""

from __future__ import annotations

import pytest

from darkit_nb.config import RunConfig, SettingsError, dump_yaml, key_table
from darkit_nb.config.draft import FIELDS, SWITCHES, Draft
from darkit_nb.config.problems import Problem
from darkit_nb.config.starting_points import STARTING_POINTS
from darkit_nb.plugins import Entry, registry


def problem_at(draft: Draft, key: str) -> Problem:
    checked = draft.check()
    assert checked.config is None
    return checked.problems[key]


def test_every_setting_has_a_field() -> None:
    leaves = {key for key, setting in key_table(RunConfig).items() if setting.kind != "section"}
    assert set(FIELDS) == leaves - {"schema"}
    assert SWITCHES == ("spike",)


@pytest.mark.parametrize("point", STARTING_POINTS, ids=lambda point: point.name)
def test_a_configuration_survives_the_draft(point) -> None:
    config = point.apply(RunConfig(name="mine", seed=3))
    assert Draft(config).check().config == config


def test_what_is_typed_stays_and_is_explained() -> None:
    draft = Draft()
    draft.write("train.steps", "0.")
    draft.write("train.learning_rate", "fast")
    assert draft.texts["train.steps"] == "0."
    assert draft.values["train.learning_rate"] == "fast"
    checked = draft.check()
    assert set(checked.problems) == {"train.steps", "train.learning_rate"}
    assert checked.problems["train.steps"].expected == "an integer ≥ 1"
    draft.write("train.steps", "2e2")
    draft.write("train.learning_rate", "1e-3")
    assert draft.check().config == RunConfig().replace({"train.steps": 200, "train.learning_rate": 1e-3})
    assert draft.changed == ("train.steps", "train.learning_rate")


def test_a_switched_off_section_keeps_its_values() -> None:
    draft = Draft(RunConfig().replace({"spike.num_levels": 4}))
    draft.set("spike", None)
    assert draft.check().config == RunConfig(spike=None)
    assert draft.changed == ("spike",)
    draft.set("spike", True)
    assert draft.check().config == RunConfig().replace({"spike.num_levels": 4})
    draft.set("spike", {"num_levels": 2, "signed": True})
    config = draft.check().config
    assert config is not None
    assert config.spike is not None
    assert (config.spike.num_levels, config.spike.signed) == (2, True)


def test_a_wrong_value_in_a_switched_off_section_does_not_matter() -> None:
    draft = Draft()
    draft.write("spike.num_levels", "1")
    assert draft.check().config is None
    draft.set("spike", False)
    assert draft.check().config == RunConfig(spike=None)


def test_loading_a_float_configuration_leaves_the_neuron_as_it_was() -> None:
    draft = Draft(RunConfig().replace({"spike.num_levels": 4}))
    draft.load(RunConfig(spike=None))
    draft.set("spike", True)
    assert draft.values["spike.num_levels"] == 4
    assert Draft(RunConfig(spike=None)).values["spike.num_levels"] == 16


def test_problems_of_several_fields_stand_at_each() -> None:
    draft = Draft()
    draft.set("spike.coding", "paper")
    draft.set("spike.num_levels", 6)
    assert problem_at(draft, "spike.num_levels") == problem_at(draft, "spike.num_steps")
    draft = Draft()
    draft.set("spike.weight_bits", 12)
    assert "9 and 15" in problem_at(draft, "spike.weight_bits").message


def test_problems_across_sections() -> None:
    draft = Draft()
    draft.set("data.max_train_tokens", 10)
    draft.set("train.device", "cpu")
    draft.set("train.precision", "float16")
    draft.set("model.overrides", {"max_position_embeddings": 8})
    assert set(draft.check().problems) == {"data.max_train_tokens", "train.precision", "model.overrides"}


def test_entries_of_mappings() -> None:
    draft = Draft()
    draft.set("model.overrides.hidden_size", 96)
    draft.set("model.overrides.rope", [1])
    assert problem_at(draft, "model.overrides").key == "model.overrides.rope"
    draft.set("model.overrides.rope", True)
    assert draft.texts["model.overrides"] == "hidden_size: 96, rope: true"
    config = draft.check().config
    assert config is not None
    assert config.model.overrides == {"hidden_size": 96, "rope": True}


def test_unknown_settings_are_refused() -> None:
    for key in ("train.stepz", "schema", "nothing.at.all"):
        with pytest.raises(SettingsError, match="no setting"):
            Draft().set(key, 1)
        with pytest.raises(SettingsError, match="no setting"):
            Draft().write(key, "1")


@pytest.mark.parametrize(
    ("key", "value", "fix"),
    [
        ("model.preset", "spike-lama-nano", "spike-llama-nano"),
        ("data.dataset", "txt:here", None),
        ("data.dataset", "text:", None),
        ("data.tokenizer", "bpe", None),
    ],
)
def test_names_nobody_knows(key: str, value: str, fix: str | None) -> None:
    draft = Draft()
    draft.set(key, value)
    problem = problem_at(draft, key)
    assert problem.received == repr(value)
    assert fix is None or fix in (problem.fix or "")


def test_names_are_believed_where_something_else_decides() -> None:
    draft = Draft()
    draft.set("model.preset", "of-my-plug-in")
    draft.set("plugins", ["my_plug_in"])
    assert draft.check().config is not None
    draft = Draft()
    draft.set("model.preset", "unused")
    draft.set("model.path", "/some/folder")
    draft.set("data.dataset", "org/corpus")
    assert draft.check().config is not None


def test_a_plug_in_is_known_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Entry("from-elsewhere", "A plug-in.", "nowhere:build")
    monkeypatch.setitem(registry("model")._entries, entry.name, entry)
    draft = Draft()
    draft.set("model.preset", "from-elsewhere")
    assert draft.check().config is not None


def test_changed_means_changed_in_value() -> None:
    draft = Draft()
    draft.write("train.clip_norm", "1")
    assert draft.changed == ()
    draft.set("data.streaming", 0)
    assert draft.changed == ("data.streaming",)
    assert "clip_norm: 1.0" in dump_yaml(Draft().check().config or RunConfig(seed=1))
