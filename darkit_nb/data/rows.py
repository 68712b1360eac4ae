"""Rows of a table become documents: a text column, lines of articles, or conversations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from darkit_nb.data.corpus import Document, Message
from darkit_nb.errors import DataError

_PREFERRED = ("text", "messages", "content")
# WikiText's top heading, ` = Title = `; those with more signs, ` = = Section = = `, are inside the article.
_TITLE = re.compile(r"\s?= [^=\s](?:.*[^=\s])? = ?\s*")


def check_column(name: str, rows: Iterable[Mapping[str, Any]], wanted: str | None) -> str:
    """The column that holds the text.

    Args:
        name: Id of the dataset, for messages.
        rows: A dataset or an iterable dataset.
        wanted: The column asked for; None: `text`, `messages`, `content`, or the only one with text.

    Raises:
        DataError: it is not there, or none stands out; the columns there are named.
    """
    first = next(iter(rows), None)
    if first is None:
        raise DataError(
            f"The dataset {name!r} is empty.", expected="at least one row", received="none", fix="check data.subset"
        )
    if wanted is not None:
        fitting = [wanted] if wanted in first else []
    else:
        fitting = [column for column in _PREFERRED if column in first][:1]
        fitting = fitting or [column for column, value in first.items() if isinstance(value, str)]
    if len(fitting) != 1:
        raise DataError(
            f"The dataset {name!r} has no column {wanted!r}." if wanted else f"Which column of {name!r} is the text?",
            expected="a column with text, or with messages of role and content",
            received=f"the columns {', '.join(first)}",
            fix="name one of them with data.text_column",
        )
    return fitting[0]


def documents_of(rows: Any, *, column: str, articles: bool, name: str) -> Iterator[Document]:
    """Documents in the order of the rows; rows without text are left out.

    Raises:
        DataError: a row that holds neither text nor messages.
    """
    values = (row[column] for row in rows.select_columns([column]))
    if articles:
        values = _articles(values)
    for value in values:
        if isinstance(value, str):
            if value.strip():
                yield Document(_whole(value))
        elif value:
            yield Document(messages=_messages(value, column, name))


def _articles(lines: Iterable[str]) -> Iterator[str]:
    article: list[str] = []
    for line in lines:
        if _TITLE.fullmatch(line) and article:
            yield "\n".join(article)
            article = []
        article.append(line.removesuffix("\n"))
    yield "\n".join(article)


def _messages(value: Any, column: str, name: str) -> tuple[Message, ...]:
    try:
        return tuple(Message(str(turn["role"]), _whole(turn["content"])) for turn in value)
    except (TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"The column {column!r} of {name!r} holds neither text nor messages.",
            expected="a string, or a list of {role, content}",
            received=repr(value)[:200],
            fix="name another column with data.text_column",
        ) from error


def _whole(text: str) -> str:
    """The text with a mark in place of half surrogate pairs, which JSON can carry and UTF-8 cannot."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
