"""The settings of a conversion while they are chosen."""

from __future__ import annotations

import pytest

from darkit_nb.config.conversion_draft import SPEC_FIELDS, SpecDraft, usual_bits
from darkit_nb.config.conversions import BITS, PRESETS, preset
from darkit_nb.errors import ConfigError


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("bits", BITS)
def test_an_untouched_draft_is_its_preset(name: str, bits: str):
    checked = SpecDraft(name, bits).check()
    if bits == "ternary" and name in ("omniquant", "spikellm-omniquant", "flatquant"):
        assert checked.spec is None
        assert "no additive form" in checked.problems["bits"].message
    else:
        assert checked.spec == preset(name, bits=bits)


def test_every_setting_of_a_conversion_has_a_field():
    spec = preset("darkit").to_dict()
    spike = spec.pop("spike")
    expected = {*spec, *(f"spike.{name}" for name in spike)} - {"pipeline"}
    assert expected - set(SPEC_FIELDS) == {"spike.weight_bits", "spike.reselect_every", "spike.gradient"}


def test_texts_are_read_as_people_write_them():
    draft = SpecDraft("gptq")
    draft.write("spike.num_steps", "3")
    draft.write("group_size", "64")
    assert draft.changed == {"spike.num_steps": 3, "group_size": 64}
    spec = draft.check().spec
    assert spec is not None
    assert spec.spike is not None
    assert (spec.spike.num_steps, spec.group_size) == (3, 64)
    draft.write("group_size", "")
    draft.write("spike.num_steps", "1")
    assert draft.changed == {}


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("spike.num_steps", "x", "an integer ≥ 1 and ≤ 64"),
        ("spike.num_steps", "0", "an integer ≥ 1 and ≤ 64"),
        ("damping", "0", "a number > 0.0 and ≤ 1.0"),
        ("clip_search", "perhaps", "true/false"),
        ("rotation", "round", "one of none, hadamard, split, learned"),
        ("spike.include", "[1]", "a list of text"),
    ],
)
def test_what_does_not_fit_is_named_where_it_stands(key: str, text: str, expected: str):
    draft = SpecDraft("darkit")
    draft.write(key, text)
    checked = draft.check()
    assert checked.spec is None
    assert checked.problems[key].expected == expected
    assert draft.text(key) == text
    draft.reset(key)
    assert draft.check().spec == preset("darkit")


def test_settings_that_do_not_go_together_are_named_at_each_of_them():
    draft = SpecDraft("omniquant")
    draft.set("refine_epochs", 0)
    assert {"scaling", "weights", "refine_epochs"} <= set(draft.check().problems)


def test_all_that_is_wrong_is_told_at_once():
    draft = SpecDraft("darkit")
    draft.write("spike.num_steps", "0")
    draft.write("damping", "2")
    assert set(draft.check().problems) == {"spike.num_steps", "damping"}
    draft = SpecDraft("darkit")
    draft.set("refine_epochs", 3)
    draft.set("spike.coding", "paper")
    draft.set("spike.num_levels", 6)
    assert {"spike.coding", "spike.num_levels"} <= set(draft.check().problems)
    draft.reset("spike.num_levels")
    assert {"scaling", "weights", "refine_epochs"} <= set(draft.check().problems)


def test_spikes_can_be_taken_out_and_put_back():
    draft = SpecDraft("rtn")
    draft.set("spike.num_levels", 8)
    draft.set("spike", None)
    spec = draft.check().spec
    assert spec is not None
    assert spec.spike is None
    assert draft.off == ("spike",)
    assert draft.changed == {"spike": None}
    draft.set("spike", True)
    assert draft.changed == {"spike.num_levels": 8}


def test_another_preset_keeps_only_what_concerns_the_text():
    draft = SpecDraft("darkit", longest=256)
    draft.set("samples", 16)
    draft.set("group_size", 32)
    draft.choose("quarot", "W6A6")
    assert draft.changed == {"samples": 16}
    spec = draft.check().spec
    assert spec is not None
    assert (spec.pipeline, spec.samples, spec.sample_length) == ("quarot", 16, 256)


def test_a_name_nobody_knows_is_refused():
    with pytest.raises(ConfigError, match="no conversion preset"):
        SpecDraft("darkitt")
    with pytest.raises(ConfigError, match="no setting 'nothing'"):
        SpecDraft().set("nothing", 1)


def test_the_bits_of_a_preset():
    assert {name: usual_bits(name) for name in ("darkit", "pb-llm")} == {"darkit": "W4A4", "pb-llm": "ternary"}
