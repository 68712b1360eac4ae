"""What a corpus is: documents in a stated order, and an identity that changes when their content does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

from darkit_nb.errors import DataError
from darkit_nb.plugins import Entry, registry

Progress = Callable[[str, float], None]


class DataSettings(Protocol):
    """What `prepare` reads; the data section of a run configuration has these attributes."""

    @property
    def dataset(self) -> str: ...  # noqa: D102 - the fields are described where they are configured
    @property
    def subset(self) -> str | None: ...  # noqa: D102
    @property
    def tokenizer(self) -> str: ...  # noqa: D102
    @property
    def seq_len(self) -> int: ...  # noqa: D102
    @property
    def validation_fraction(self) -> float: ...  # noqa: D102
    @property
    def text_column(self) -> str | None: ...  # noqa: D102
    @property
    def streaming(self) -> bool: ...  # noqa: D102
    @property
    def max_train_tokens(self) -> int | None: ...  # noqa: D102
    @property
    def max_validation_tokens(self) -> int | None: ...  # noqa: D102
    @property
    def cache_dir(self) -> str | Path | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Document:
    """A text, or a conversation whose assistant turns alone are learnt.

    Attributes:
        text: The text; empty for a conversation.
        messages: The turns; empty for a text.
    """

    text: str = ""
    messages: tuple[Message, ...] = ()

    @property
    def digest(self) -> bytes:
        """16 bytes that are equal exactly when two documents are."""
        content = json.dumps([[m.role, m.content] for m in self.messages]) if self.messages else self.text
        return blake2b(content.encode(), digest_size=16, person=b"chat" if self.messages else b"text").digest()

    @property
    def num_bytes(self) -> int:
        """Length of the text, or of all turns, in UTF-8."""
        return sum(len(m.content.encode()) for m in self.messages) if self.messages else len(self.text.encode())


@dataclass(frozen=True)
class Corpus:
    """Documents that can be read again and again.

    Attributes:
        name: The id the user wrote.
        fingerprint: Changes whenever a document does; part of the cache key.
        train: Opens the training documents, in the same order each time.
        validation: Opens the validation documents the corpus itself sets apart; None: a part of `train` is withheld.
    """

    name: str
    fingerprint: str
    train: Callable[[], Iterator[Document]]
    validation: Callable[[], Iterator[Document]] | None = None


@dataclass(frozen=True)
class Request:
    """What the builder of a dataset or tokenizer entry receives.

    Attributes:
        name: The id as the user wrote it, `bpe:2048`.
        argument: What follows the colon, `2048`; empty where there is none.
        settings: The data settings.
        options: The options of the registry entry.
    """

    name: str
    argument: str
    settings: DataSettings
    options: dict[str, Any] = field(default_factory=dict)


def find_entry(kind: str, name: str) -> tuple[Entry, str]:
    """Registry entry and argument that an id such as `stdlib`, `text:notes/` or `org/name` stands for.

    An id without an entry of its own is taken as a hub id by the entry `hub`.

    Raises:
        DataError: the id is empty, or its part before the colon names no entry.
    """
    known = registry("dataset" if kind == "dataset" else "tokenizer")
    head, colon, argument = name.partition(":")
    if head in known:
        entry = known.get(head)
        wants = entry.options.get("argument")
        if bool(wants) != bool(argument):
            raise DataError(
                f"The {kind} {name!r} is incomplete."
                if wants
                else f"The {kind} {head!r} takes nothing after its name.",
                expected=f"{head}:<{wants}>" if wants else repr(head),
                received=repr(name),
            )
        return entry, argument
    if colon or not name:
        forms = [f"{e.name}:<{e.options['argument']}>" if e.options.get("argument") else e.name for e in known]
        raise DataError(
            f"There is no {kind} of the form {name!r}.",
            expected=f"one of {', '.join(forms)}, or a hub id such as 'org/name'",
            received=repr(name),
            cause="; ".join(f"plug-in {plugin}: {why}" for plugin, why in known.failures.items()) or None,
        )
    return known.get("hub"), name


def open_corpus(settings: DataSettings) -> Corpus:
    """The corpus the settings name.

    Raises:
        DataError: it does not exist or cannot be read.
    """
    entry, argument = find_entry("dataset", settings.dataset)
    return entry.load()(Request(settings.dataset, argument, settings, entry.options))
