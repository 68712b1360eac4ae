"""A closer look at prepared data than its counts: whole documents, and one window token by token."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

from darkit_nb.data.byte_tokenizer import byte_letters
from darkit_nb.data.corpus import DataSettings, Document, Progress, open_corpus
from darkit_nb.data.preview import DataPreview, preview
from darkit_nb.data.windows import IGNORED

if TYPE_CHECKING:
    from tokenizers import Tokenizer

DOCUMENTS = 3
DOCUMENT_CHARS = 1500
WINDOW_TOKENS = 256


@dataclass(frozen=True)
class Token:
    """One token as a person reads it.

    Attributes:
        id: Its id.
        text: The text it stands for; its bytes as `\\xe2` where it is a part of a letter only.
        special: Whether it is a mark of the tokenizer, such as the end of a text.
        learnt: Whether the model is asked to predict it.
    """

    id: int
    text: str
    special: bool
    learnt: bool


@dataclass(frozen=True)
class DataLook:
    """What a corpus looks like to a person and to the model.

    Attributes:
        preview: Counts over both splits.
        documents: The first training documents, each cut after 1500 characters.
        window: The tokens of the first training window, at most 256 of them.
    """

    preview: DataPreview
    documents: tuple[str, ...]
    window: tuple[Token, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`, also after a trip through JSON."""
        return cls(
            preview=DataPreview.from_dict(values["preview"]),
            documents=tuple(values["documents"]),
            window=tuple(Token(**token) for token in values["window"]),
        )


def look(settings: DataSettings, *, seed: int, progress: Progress | None = None) -> DataLook:
    """Prepare a corpus, or take it from the cache, and look at it.

    Args:
        settings: The data section of a run configuration.
        seed: Decides which documents are withheld for validation.
        progress: Called with what is being done and how far it is, from 0 to 1.

    Raises:
        DataError: the corpus or the tokenizer cannot be used.
    """
    from tokenizers import Tokenizer

    from darkit_nb.data.preparation import prepare

    data = prepare(settings, seed=seed, progress=progress)
    backend = Tokenizer.from_file(str(data.tokenizer.folder / "tokenizer.json"))
    window = next(iter(data.train))
    return DataLook(
        preview=preview(data, count=0),
        documents=tuple(_shown(document) for document in islice(open_corpus(settings).train(), DOCUMENTS)),
        window=tuple(tokens_of(backend, window["input_ids"], window["labels"])),
    )


def tokens_of(backend: Tokenizer, ids: Iterable[int], labels: Iterable[int]) -> Iterable[Token]:
    """The first tokens of a window."""
    specials = {id for id, token in backend.get_added_tokens_decoder().items() if token.special}
    byte_of = {letter: byte for byte, letter in enumerate(byte_letters())}
    for id, label in islice(zip(map(int, ids), labels, strict=True), WINDOW_TOKENS):
        yield Token(id, _text_of(backend, id, byte_of), id in specials, int(label) != IGNORED)


def _text_of(backend: Tokenizer, id: int, byte_of: dict[str, int]) -> str:
    raw = backend.id_to_token(id) or f"<{id}>"
    text = backend.decode([id], skip_special_tokens=False)
    if "\ufffd" not in text:
        return text or raw
    return "".join(f"\\x{byte_of[letter]:02x}" if letter in byte_of else letter for letter in raw)


def _shown(document: Document) -> str:
    text = document.text or "\n\n".join(f"{turn.role}: {turn.content}" for turn in document.messages)
    return text if len(text) <= DOCUMENT_CHARS else text[:DOCUMENT_CHARS] + " …"
