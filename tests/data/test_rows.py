"""Which column is the text, and what its rows become."""

from __future__ import annotations

from typing import Any

import pytest

from darkit_nb.data.corpus import Document, Message
from darkit_nb.data.rows import check_column, documents_of
from darkit_nb.errors import DataError


def read(rows: list[Any], articles: bool = False) -> list[Document]:
    from datasets import Dataset

    return list(documents_of(Dataset.from_dict({"c": rows}), column="c", articles=articles, name="d"))


@pytest.mark.parametrize(
    ("row", "wanted", "found"),
    [
        ({"id": "1", "text": "a"}, None, "text"),
        ({"prompt": "p", "messages": []}, None, "messages"),
        ({"score": 1.0, "story": "a"}, None, "story"),
        ({"text": "a", "story": "b"}, "story", "story"),
    ],
)
def test_column(row: dict[str, Any], wanted: str | None, found: str) -> None:
    assert check_column("d", [row], wanted) == found


@pytest.mark.parametrize(
    ("row", "wanted", "said"),
    [
        ({"id": "1", "story": "a"}, None, "Which column of 'd' is the text"),
        ({"score": 1.0}, None, "Which column of 'd' is the text"),
        ({"id": "1", "story": "a"}, "text", "has no column 'text'"),
    ],
)
def test_column_missing(row: dict[str, Any], wanted: str | None, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        check_column("d", [row], wanted)
    assert f"the columns {', '.join(row)}" in str(caught.value)
    assert "data.text_column" in str(caught.value)


def test_no_row() -> None:
    with pytest.raises(DataError, match="'d' is empty"):
        check_column("d", [], None)


def test_blank_rows_are_left_out() -> None:
    assert [d.text for d in read(["a", "", None, " \n", "b"])] == ["a", "b"]


def test_half_surrogate_pairs_are_replaced() -> None:
    (document,) = documents_of(FakeTable("ok \ud83d\ude42 broken \ud83d end"), column="c", articles=False, name="d")
    assert document.text == "ok 🙂 broken \ufffd end"
    assert document.digest


class FakeTable(list[dict[str, str]]):
    """Rows that Arrow would refuse to hold."""

    def __init__(self, text: str) -> None:
        super().__init__([{"c": text}])

    def select_columns(self, names: list[str]) -> FakeTable:
        return self


def test_lines_become_articles() -> None:
    lines = ["", " = First = \n", "", " = = Section = = \n", " text = text \n", "", " = Second = \n", " more \n"]
    first, second = read(lines, articles=True)
    assert first.text == " = First = \n\n = = Section = = \n text = text \n"
    assert second.text == " = Second = \n more "


def test_messages() -> None:
    (document,) = read([[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]])
    assert document == Document(messages=(Message("user", "a"), Message("assistant", "b")))
    assert document.num_bytes == 2


@pytest.mark.parametrize("value", [[1, 2], [{"from": "human", "value": "a"}]])
def test_neither_text_nor_messages(value: Any) -> None:
    with pytest.raises(DataError, match="holds neither text nor messages") as caught:
        read([value])
    assert "text_column" in str(caught.value)
