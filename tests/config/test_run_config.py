"""A configuration is frozen, strict and checked as a whole, and says every wrong key at once."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from pydantic import ValidationError

from darkit_nb.config import (
    DataConfig,
    ModelConfig,
    RunConfig,
    SettingsError,
    SpikeSpec,
    TrainConfig,
    key_table,
    load_config,
)
from darkit_nb.errors import ConfigError


def refused(*overrides: str) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load_config(None, overrides)
    return caught.value


def test_every_key_says_what_it_is_for() -> None:
    table = key_table(RunConfig)
    assert {"schema", "train.steps", "spike.num_levels", "model.overrides", "checkpoint.keep"} <= table.keys()
    assert all(len(setting.description) > 15 for setting in table.values())


def test_limits_and_choices_are_read_from_pydantic_and_from_the_dataclass() -> None:
    table = key_table(RunConfig)
    assert table["train.beta1"].expected == "a number ≥ 0.0 and < 1.0"
    assert table["spike.num_levels"].expected == "an integer ≥ 2 and ≤ 256"
    assert table["train.schedule"].choices == ("cosine", "linear", "constant")
    assert table["data.max_train_tokens"].expected == "an integer ≥ 2, or null"
    assert table["spike"].nullable


@pytest.mark.parametrize(
    ("override", "key", "nearest"),
    [
        ("train.stepz=3", "train.stepz", "train.steps"),
        ("steps=3", "steps", "train.steps"),
        ("spike.numlevels=4", "spike.numlevels", "spike.num_levels"),
        ("dat.seq_len=8", "dat.seq_len", "data.seq_len"),
        ("train.lerning_rate=1", "train.lerning_rate", "train.learning_rate"),
        ("train.steps.x=2", "train.steps.x", "train.steps"),
    ],
)
def test_an_unknown_key_names_the_nearest(override: str, key: str, nearest: str) -> None:
    error = refused(override)
    assert [problem.key for problem in error.problems] == [key]
    assert error.expected == repr(nearest)
    assert error.fix is not None
    assert repr(nearest) in error.fix


def test_a_key_like_no_other_lists_the_sections() -> None:
    error = refused("zzzzzz=1")
    assert error.fix is None
    assert error.expected is not None
    assert "train" in error.expected


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.steps=many", "an integer ≥ 1"),
        ("train.steps=2.5", "an integer ≥ 1"),
        ("train.steps=true", "an integer ≥ 1"),
        ("train.steps=null", "an integer ≥ 1"),
        ("train.steps=0", "an integer ≥ 1"),
        ("train.learning_rate=fast", "a number > 0.0 and ≤ 10.0"),
        ("train.beta2=1", "a number ≥ 0.0 and < 1.0"),
        ("train.schedule=step", "one of cosine, linear, constant"),
        ("train.tensorboard=yes", "true/false"),
        ("train=3", "a mapping of settings"),
        ("spike=3", "a mapping of settings, or null"),
        ("spike.num_levels='16'", "an integer"),
        ("spike.signed=1", "true or false"),
        ("spike.num_steps=true", "an integer"),
        ("spike.coding=morse", "one of rate, radix, paper"),
        ("spike.include=3", "a list of text"),
        ("plugins=[1]", "a list of text"),
        ("model.overrides.hidden_size=[1]", "a number, text, true, false or null"),
        ("data.dataset=''", "text"),
        ("name=5", "text, or null"),
    ],
)
def test_a_wrong_value_names_its_key_and_what_fits(override: str, expected: str) -> None:
    error = refused(override)
    (problem,) = error.problems
    assert problem.key == override.partition("=")[0]
    assert problem.expected == expected
    assert problem.received
    assert problem.key in str(error)


def test_all_wrong_keys_are_named_at_once() -> None:
    error = refused("train.steps=many", "data.seq_len=1", "spike.num_levels=x", "model.path=3")
    assert {problem.key for problem in error.problems} == {
        "train.steps",
        "data.seq_len",
        "spike.num_levels",
        "model.path",
    }
    assert all(key in str(error) for key in ("train.steps", "data.seq_len", "spike.num_levels", "model.path"))


@pytest.mark.parametrize(
    "name", ["../../x", "/etc", "a/b", "a\\b", "", ".", "..", "-x", "x-", "a..b", "a b", "a\n", "x" * 49, "ü", "\uff41"]
)
def test_names_with_path_parts_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="A run cannot be called"):
        RunConfig(name=name)
    with pytest.raises(ConfigError, match="A fork cannot be called"):
        RunConfig().replace({"model.fork": name})


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["data.max_train_tokens=8"], "data.max_train_tokens"),
        (
            ["data.seq_len=512", "model.overrides.max_position_embeddings=256"],
            "model.overrides.max_position_embeddings",
        ),
        (["data.seq_len=512", "model.overrides.n_positions=256"], "model.overrides.n_positions"),
        (["train.device=cpu", "train.precision=float16"], "train.precision"),
        (["model.fork_replay=true"], "model.fork_replay"),
    ],
)
def test_values_that_do_not_go_together(overrides: list[str], key: str) -> None:
    assert [problem.key for problem in refused(*overrides).problems] == [key]


def test_an_error_of_the_spike_spec_keeps_its_words() -> None:
    error = refused("spike.weight_bits=12")
    assert error.problems[0].key == "spike.weight_bits"
    assert error.fix == "use weight_bits=8, or weight_bits=16"


@pytest.mark.parametrize(
    "build",
    [
        lambda: TrainConfig(steps=0),
        lambda: RunConfig(train={"stepz": 3}),  # pyright: ignore[reportArgumentType]
        lambda: RunConfig(stepz=3),  # pyright: ignore[reportCallIssue]
        lambda: RunConfig.model_validate({"train": {"steps": "x"}}),
        lambda: RunConfig.model_validate(3),
        lambda: RunConfig.model_validate_json('{"train"'),
        lambda: RunConfig(schema=7),  # pyright: ignore[reportCallIssue]
        lambda: RunConfig().replace({"train.steps": "x"}),
        lambda: RunConfig().replace({"train.x": 1}),
    ],
)
def test_pydantic_is_never_seen(build) -> None:
    with pytest.raises(SettingsError) as caught:
        build()
    assert not isinstance(caught.value, ValidationError)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert "pydantic" not in str(caught.value)


def test_nested_problems_carry_the_whole_key() -> None:
    with pytest.raises(SettingsError) as caught:
        RunConfig.model_validate({"train": {"schedule": "x"}})
    assert caught.value.message.startswith("train.schedule ")


def test_a_configuration_is_a_value() -> None:
    config = RunConfig()
    with pytest.raises(ConfigError, match="cannot be assigned"):
        config.train.steps = 3
    changed = config.replace({"train.steps": 3, "spike.num_levels": 2})
    assert (changed.train.steps, config.train.steps) == (3, 1000)
    assert changed.spike is not None
    assert changed.spike.num_levels == 2


def test_a_float_model_gets_a_spike_spec_back_from_its_first_field() -> None:
    assert RunConfig(spike=None).replace({"spike.num_levels": 4}).spike == SpikeSpec(num_levels=4)


def test_paths_may_be_path_objects(tmp_path: Path) -> None:
    config = RunConfig.model_validate(
        {"runs_dir": tmp_path, "data": {"cache_dir": tmp_path}, "model": {"path": tmp_path}}
    )
    assert config.runs_dir == config.data.cache_dir == config.model.path == str(tmp_path)


def test_equal_configurations_are_equal_and_survive_pickling() -> None:
    config = RunConfig(name="a", data=DataConfig(seq_len=64), model=ModelConfig(overrides={"hidden_size": 32}))
    assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301 - our own bytes
    error = refused("train.steps=0")
    assert pickle.loads(pickle.dumps(error)).problems == error.problems  # noqa: S301 - our own bytes


def test_warmup_never_eats_a_short_run() -> None:
    assert TrainConfig(steps=20).effective_warmup_steps == 2
    assert TrainConfig(steps=4000).effective_warmup_steps == 50
