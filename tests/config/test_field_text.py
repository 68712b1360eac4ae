"""Input fields and values mean the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkit_nb.config import RunConfig, Setting, key_table
from darkit_nb.config.field_text import text_of, value_of

TABLE = key_table(RunConfig)
WORDS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=12) | st.sampled_from(
    ["a, b", "[x]", "null", "1", " x", "{", "*", "", "x: y", "'"]
)
FREE = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS


@given(st.lists(WORDS, max_size=4))
def test_lists_survive(items: list[str]) -> None:
    setting = TABLE["plugins"]
    assert value_of(setting, text_of(setting, items)) == items


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), FREE, max_size=4))
def test_mappings_survive(items: dict[str, Any]) -> None:
    setting = TABLE["model.overrides"]
    assert value_of(setting, text_of(setting, items)) == items


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_survive(value: float) -> None:
    setting = TABLE["train.learning_rate" if isinstance(value, float) else "train.steps"]
    again = value_of(setting, text_of(setting, value))
    assert again == value
    assert type(again) is type(value)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("train.steps", " 200 ", 200),
        ("train.steps", "2e3", 2000),
        ("train.steps", "1_000", 1000),
        ("train.steps", "2.5", 2.5),
        ("train.steps", "many", "many"),
        ("train.steps", "", ""),
        ("train.steps", "null", "null"),
        ("train.steps", "[1", "[1"),
        ("train.max_seconds", "", None),
        ("train.learning_rate", "3e-4", 3e-4),
        ("data.streaming", "true", True),
        ("data.streaming", "yes", "yes"),
        ("name", "", None),
        ("data.dataset", "null", "null"),
        ("data.dataset", " x", " x"),
        ("plugins", "a, b,", ["a", "b"]),
        ("plugins", "[a, [", "[a, ["),
        ("model.overrides", "hidden_size: 96, rope: true", {"hidden_size": 96, "rope": True}),
        ("model.overrides", "{hidden_size: 96}", {"hidden_size": 96}),
        ("model.overrides", "", {}),
        ("model.overrides", "hidden_size 96: [", "hidden_size 96: ["),
    ],
)
def test_what_people_type(key: str, text: str, value: Any) -> None:
    found = value_of(TABLE[key], text)
    assert found == value
    assert type(found) is type(value)


def test_defaults_read_well() -> None:
    shown = {key: text_of(setting, setting.default) for key, setting in TABLE.items() if setting.kind != "section"}
    assert shown["spike.exclude"] == "lm_head, *.lm_head, *embed*"
    assert shown["train.learning_rate"] == "0.003"
    assert shown["model.overrides"] == shown["name"] == ""
    assert shown["data.streaming"] == "false"


def test_null_is_an_empty_field() -> None:
    setting = Setting(key="x", kind="integer", nullable=True, default=None, description="")
    assert text_of(setting, None) == ""
    assert value_of(setting, "  ") is None
