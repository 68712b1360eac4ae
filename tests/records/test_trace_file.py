"""Traces kept in files: read back whole, and refused with words where they are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from darkit_nb.errors import ModelError
from darkit_nb.records.trace_file import read_trace
from tests.records.traces import small_trace


def test_a_trace_is_read_back(tmp_path: Path):
    (tmp_path / "t.json").write_text(small_trace().to_json(), encoding="utf-8")
    assert read_trace(tmp_path / "t.json") == small_trace()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "JSONDecodeError"),
        ("[]", "TypeError"),
        ("{}", "KeyError"),
        (small_trace().to_json()[:-9], "JSONDecodeError"),
        (json.dumps(small_trace().to_dict() | {"nodes": []}), "IndexError"),
        (json.dumps(small_trace().to_dict() | {"nodes": small_trace().to_dict()["nodes"][1:]}), "ValueError"),
        (json.dumps(small_trace().to_dict() | {"nodes": small_trace().to_dict()["nodes"][:2] * 2}), "twice"),
        (json.dumps(small_trace().to_dict() | {"schema": 2}), "schema 2"),
    ],
)
def test_what_is_no_trace_is_refused(tmp_path: Path, text: str, words: str):
    (tmp_path / "t.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError) as caught:
        read_trace(tmp_path / "t.json")
    assert words in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(ModelError, match="not a readable trace"):
        read_trace(tmp_path / "none.json")
