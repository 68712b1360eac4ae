"""A conversion is described by plain data that refuses what has no meaning."""

from __future__ import annotations

import json

import pytest

from darkit_nb.errors import ConfigError
from darkit_nb.records.conversion import ConversionSpec
from darkit_nb.records.problem import SettingsError
from darkit_nb.records.setting import record_settings
from darkit_nb.records.spike_spec import SpikeSpec


def test_it_survives_json():
    spec = ConversionSpec(
        pipeline="mine", spike=SpikeSpec(num_levels=16), rotation="split", weights="gptq", group_size=64
    )
    again = ConversionSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec
    assert hash(again) == hash(spec)
    assert again.digest == spec.digest


def test_the_digest_follows_every_field_but_the_name():
    spec = ConversionSpec()
    assert spec.digest == spec.replace(pipeline="other").digest
    for change in ({"damping": 0.02}, {"seed": 1}, {"spike": SpikeSpec(num_steps=3)}, {"group_size": 32}):
        assert spec.replace(**change).digest != spec.digest


def test_additions_are_counted_as_published():
    spec = ConversionSpec(weights="pb_llm", spike=None)
    found = [spec.replace(weight_salient_fraction=share).weight_additions for share in (0.05, 0.1, 0.2)]
    assert found == pytest.approx([1.35, 1.7, 2.4])
    spikes = {"weight_steps": 2, "weight_salient_fraction": 0.4, "spike": None}
    assert [ConversionSpec(weights=name, **spikes).weight_additions for name in ("ternary", "trit_planes", "gptq")] == [
        pytest.approx(1.4),
        pytest.approx(1.4),
        0.0,
    ]


def test_weight_bits_reach_the_spikes():
    assert ConversionSpec(weight_bits=2).spike == SpikeSpec(num_steps=1, salient_fraction=0.0, weight_bits=2)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"rotation": "twist"}, "rotation"),
        ({"damping": 0.0}, "damping"),
        ({"damping": float("nan")}, "damping"),
        ({"samples": 0}, "samples"),
        ({"samples": 1.5}, "samples"),
        ({"samples": True}, "samples"),
        ({"weight_bits": 9}, "weight_bits"),
        ({"weights": "lwc"}, "epochs of training"),
        ({"refine_epochs": 3}, "epochs of training"),
        ({"rotation": "split"}, "salient features"),
        ({"steps_budget": 1.1}, "no spike steps"),
        ({"spike": {"num_levls": 4}}, "num_levls"),
    ],
)
def test_what_has_no_meaning_is_refused(fields, word):
    with pytest.raises(ConfigError, match=word) as caught:
        ConversionSpec(**fields)
    assert caught.value.expected
    assert caught.value.received


def test_everything_that_is_wrong_is_told_at_once():
    with pytest.raises(SettingsError) as caught:
        ConversionSpec.from_dict({"damping": 0, "samples": "many", "spike": {"num_levels": 1, "coding": "morse"}})
    keys = {problem.key for problem in caught.value.problems}
    assert keys == {"damping", "samples", "spike.num_levels", "spike.coding"}
    with pytest.raises(SettingsError) as caught:
        ConversionSpec(refine_epochs=3, rotation="split", steps_budget=1.1, salient_scale=True, group_size=32)
    keys = {problem.key for problem in caught.value.problems}
    assert keys == {"refine_epochs", "rotation", "steps_budget", "salient_scale"}


def test_every_setting_says_what_it_is_for_and_where_it_stands():
    for name, setting in record_settings(ConversionSpec).items():
        assert len(setting.description) > 30, name
        assert setting.description.endswith("."), name
        assert setting.group or name in ("pipeline", "spike"), name
        assert setting.unit or setting.kind != "integer" or name.endswith("seed"), name


def test_a_key_of_a_newer_version_is_named():
    with pytest.raises(ConfigError) as caught:
        ConversionSpec.from_dict({"teleport": 3})
    assert caught.value.received == "teleport"
