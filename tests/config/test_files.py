"""YAML, overrides, JSON schema and command lines all carry the same configuration."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from darkit_nb.config import (
    RunConfig,
    SettingsError,
    changed_keys,
    command_line,
    describe_keys,
    dump_yaml,
    from_dict,
    json_schema,
    key_table,
    load_config,
    yaml_text,
)
from darkit_nb.config.names import NAME_PATTERN
from darkit_nb.errors import ConfigError

TEXTS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=12) | st.sampled_from(
    [
        "no",
        "1e3",
        "1_000",
        "null",
        "~",
        "true",
        "2026-11-22",
        "1:30",
        "0x10",
        "a: b",
        "[x",
        "# x",
        " x ",
        "'",
        '"',
        "=",
        ".5",
        "-",
        "a\nb",
        "\t",
        "\xa0",
        ":\xa0",
        "\u2028",
    ]
)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
FREE = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | FINITE | TEXTS
SKIPPED = {"schema", "spike.num_levels", "spike.num_steps", "spike.coding", "spike.signed", "spike.weight_bits"}

CROSS_CHECKED = {"data.max_train_tokens", "data.max_validation_tokens", "train.precision", "model.fork_replay"}


def values_of(key: str) -> st.SearchStrategy[Any]:
    """Acceptable values of one key, drawn from what its setting says."""
    setting = key_table(RunConfig)[key]
    low, high = setting.minimum, setting.maximum
    drawn: st.SearchStrategy[Any]
    if key in ("name", "model.fork"):
        drawn = st.from_regex(NAME_PATTERN, fullmatch=True).filter(lambda name: ".." not in name)
    elif setting.kind == "integer":
        drawn = st.integers(int(low or 0), int(min(high or 10**6, 10**6)))
    elif setting.kind == "number":
        assert low is not None
        drawn = st.floats(
            low,
            high,
            exclude_min=setting.exclusive_minimum,
            exclude_max=setting.exclusive_maximum,
            allow_infinity=False,
        )
    elif setting.kind == "true/false":
        drawn = st.booleans()
    elif setting.kind == "choice":
        drawn = st.sampled_from(setting.choices)
    elif setting.kind == "list":
        drawn = st.lists(TEXTS, max_size=3)
    elif setting.kind == "mapping":
        drawn = st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), FREE, max_size=3)
    else:
        drawn = TEXTS
    return drawn | st.none() if setting.nullable else drawn


LEAVES = [key for key, setting in key_table(RunConfig).items() if setting.kind != "section" and key not in SKIPPED]


@st.composite
def configurations(draw: st.DrawFn) -> RunConfig:
    keys = draw(st.lists(st.sampled_from(LEAVES), unique=True, max_size=10))
    changes = {key: draw(values_of(key)) for key in keys}
    changes |= {"spike": None} if draw(st.booleans()) and not any(key.startswith("spike.") for key in keys) else {}
    try:
        return RunConfig().replace(changes)
    except SettingsError as error:
        if {problem.key for problem in error.problems} <= CROSS_CHECKED:
            return RunConfig()
        raise


@given(configurations())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_yaml_and_command_line_reproduce_the_configuration(config: RunConfig) -> None:
    assert from_dict(yaml_text.parse(dump_yaml(config), "text")) == config
    command = command_line(config)
    assert load_config(None, command[2:]) == config
    assert shlex.split(shlex.join(command)) == command
    assert all("\n" not in argument for argument in command)


@settings(deadline=None)
@given(FREE | st.lists(FREE, max_size=3))
def test_one_value_survives_its_line(value: Any) -> None:
    line = yaml_text.inline(value)
    assert "\n" not in line
    again = yaml_text.parse(line, "value")
    assert again == value
    assert type(again) is type(value)


def test_the_command_is_the_shortest() -> None:
    assert command_line(RunConfig()) == ["darkit-nb", "train"]
    config = RunConfig().replace({"train.steps": 20, "spike.num_levels": 2, "model.overrides.hidden_size": 32})
    assert command_line(config)[2:] == ["model.overrides.hidden_size=32", "spike.num_levels=2", "train.steps=20"]
    assert changed_keys(config) == {"model.overrides.hidden_size": 32, "spike.num_levels": 2, "train.steps": 20}
    assert command_line(RunConfig(spike=None))[2:] == ["spike=null"]


def test_later_sources_win(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("schema: 1\nmodel: {path: folder}\ntrain:\n  steps: 7\n  learning_rate: 3e-4\n")
    config = load_config(path, ["train.steps=9", "train.steps=11"], preset="spike-llama-7b")
    assert config.train.steps == 11
    assert config.train.learning_rate == 3e-4
    assert (config.model.preset, config.model.path) == ("spike-llama-7b", None)
    assert load_config(path, ["model.preset=other"], preset="p").model.preset == "other"


def test_numbers_and_words_are_read_as_people_mean_them() -> None:
    read = {
        text: yaml_text.parse(text, "x")
        for text in ("3e-3", "1_000", "no", "on", "2026-11-22", "1:30", "-2", ".5", "~", "0o7")
    }
    assert read == {
        "3e-3": 0.003, "1_000": 1000, "no": "no", "on": "on", "2026-11-22": "2026-11-22",
        "1:30": "1:30", "-2": -2, ".5": 0.5, "~": None, "0o7": "0o7",
    }  # fmt: skip


def test_a_newer_schema_says_so(tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    path.write_text("schema: 2\nsomething_new: 1\n")
    with pytest.raises(ConfigError, match="schema 2") as caught:
        load_config(path)
    assert caught.value.fix == "pip install --upgrade darkit-nb"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"train: [1", "not readable YAML"),
        (b"train:\n  steps: 1\n  steps: 2\n", "stands twice"),
        (b"- 1\n- 2\n", "holds no settings"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"x: !!python/object/apply:os.system ['true']\n", "not readable YAML"),
        (b"? [1]\n: 2\n", "not readable YAML"),
        (b"train:\n\tsteps: 1\n", "not readable YAML"),
        (b"[" * 5000, "not readable YAML"),
        (b"a: &a [x, x]\nb: *a\n" + b"#" * 5 * 2**20, "too large"),
    ],
)
def test_unusable_files(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert says in str(caught.value)
    assert "bad.yaml" in str(caught.value)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            load_config(path)


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n")
    assert load_config(path) == RunConfig()


@pytest.mark.parametrize("override", ["train.steps", "=3", " =3"])
def test_overrides_need_a_key_and_a_value(override: str) -> None:
    with pytest.raises(ConfigError, match="is not a setting") as caught:
        load_config(None, [override])
    assert caught.value.expected == "key=value, such as train.steps=200"


def test_the_json_schema_describes_every_field() -> None:
    schema = json.loads(json.dumps(json_schema()))
    assert schema["properties"]["schema"]["maximum"] == 1
    assert schema["$defs"]["TrainConfig"]["properties"]["steps"]["minimum"] == 1
    assert schema["$defs"]["SpikeSpec"]["properties"]["num_levels"]["maximum"] == 256
    described = ["description" in field for part in schema["$defs"].values() for field in part["properties"].values()]
    assert all(described)
    assert len(described) > 40


def test_the_list_of_keys_is_complete() -> None:
    text = describe_keys()
    assert "train.learning_rate = 0.003\n    a number > 0.0 and ≤ 10.0. Peak learning rate" in text
    assert text.count(" = ") >= len(LEAVES)
