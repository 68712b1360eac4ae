"""Which documents are withheld for validation, decided before anything is packed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

from darkit_nb.data.corpus import Corpus, Document
from darkit_nb.errors import DataError

Open = Callable[[], Iterator[Document]]


@dataclass(frozen=True)
class Split:
    """Two runs of documents that share none.

    Attributes:
        train: Opens the training documents.
        validation: Opens the validation documents.
        sizes: Bytes of `train` and `validation`, for progress; 0: unknown.
        duplicates: Training documents left out because validation holds the very same one.
    """

    train: Open
    validation: Open
    sizes: dict[str, int]
    duplicates: int = 0

    def documents(self, name: str) -> Iterator[Document]:
        """Documents of `train` or `validation`."""
        return self.train() if name == "train" else self.validation()


@dataclass
class _Survey:
    """Digest and size of each document, in order."""

    digests: list[bytes] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)


def split_corpus(corpus: Corpus, fraction: float, seed: int) -> Split:
    """Split a corpus by document, or a single document at a line break.

    Documents are withheld in the order of a hash of (seed, content) as long as they fit into `fraction` of the bytes,
    at least one; equal documents therefore fall on the same side. A corpus with a validation split of its own keeps
    it, and loses the training documents that occur in it.

    Raises:
        DataError: the corpus is empty, or is one conversation.
    """
    if corpus.validation is not None:
        return _given(corpus, corpus.validation)
    survey = _survey(corpus.train())
    if not survey.digests:
        raise empty(corpus)
    if len(set(survey.digests)) == 1:
        return _tail(corpus, fraction)
    withheld = _withheld(survey, fraction, seed)
    validation = sum(s for d, s in zip(survey.digests, survey.sizes, strict=True) if d in withheld)
    return Split(
        lambda: (document for document in corpus.train() if document.digest not in withheld),
        lambda: (document for document in corpus.train() if document.digest in withheld),
        {"train": sum(survey.sizes) - validation, "validation": validation},
    )


def belongs_to_validation(digest: bytes, fraction: float, seed: int) -> bool:
    """Whether a stream withholds a document: a stable draw from (seed, content), known without seeing the others."""
    return int.from_bytes(_draw(digest, seed), "big") < fraction * 2**64


def split_stream(corpus: Corpus, fraction: float, seed: int) -> Split:
    """Split a corpus without reading it first: each document is drawn by itself, from (seed, content).

    A validation split of its own is kept, and its documents are left out of training.
    """
    given = corpus.validation

    def train() -> Iterator[Document]:
        held = {document.digest for document in given()} if given else set[bytes]()
        for document in corpus.train():
            digest = document.digest
            if digest not in held if given else not belongs_to_validation(digest, fraction, seed):
                yield document

    def withheld() -> Iterator[Document]:
        return (document for document in corpus.train() if belongs_to_validation(document.digest, fraction, seed))

    return Split(train, given or withheld, {"train": 0, "validation": 0})


def empty(corpus: Corpus) -> DataError:
    """The error for a corpus without text."""
    return DataError(
        f"The dataset {corpus.name!r} is empty.",
        expected="at least one document that is more than white space",
        received="none",
        fix="check the path and, for a hub dataset, data.subset and data.text_column",
    )


def _draw(digest: bytes, seed: int) -> bytes:
    return blake2b(digest, digest_size=8, salt=(seed % 2**64).to_bytes(8, "big")).digest()


def _survey(documents: Iterator[Document]) -> _Survey:
    survey = _Survey()
    for document in documents:
        survey.digests.append(document.digest)
        survey.sizes.append(document.num_bytes)
    return survey


def _withheld(survey: _Survey, fraction: float, seed: int) -> set[bytes]:
    sizes: dict[bytes, int] = {}
    for digest, size in zip(survey.digests, survey.sizes, strict=True):
        sizes[digest] = sizes.get(digest, 0) + size
    budget = fraction * sum(survey.sizes)
    chosen: set[bytes] = set()
    for digest in sorted(sizes, key=lambda digest: _draw(digest, seed)):
        if sizes[digest] <= budget:
            chosen.add(digest)
            budget -= sizes[digest]
    return chosen or {min(sizes, key=lambda digest: (sizes[digest], digest))}


def _given(corpus: Corpus, validation: Open) -> Split:
    held = _survey(validation())
    withheld = set(held.digests)
    survey = _survey(corpus.train())
    kept = [size for digest, size in zip(survey.digests, survey.sizes, strict=True) if digest not in withheld]
    if not kept or not withheld:
        raise empty(corpus)
    return Split(
        lambda: (document for document in corpus.train() if document.digest not in withheld),
        validation,
        {"train": sum(kept), "validation": sum(held.sizes)},
        duplicates=len(survey.sizes) - len(kept),
    )


def _tail(corpus: Corpus, fraction: float) -> Split:
    def text() -> str:
        return next(corpus.train()).text

    whole = text()
    if not whole:
        raise DataError(
            f"The dataset {corpus.name!r} is a single conversation, which cannot be split.",
            expected="two conversations at least, one of them to validate on",
            received="1",
        )
    wanted = int(len(whole) * (1 - fraction))
    line_break = re.compile(r"\n(?=\S)").search(whole, wanted)
    cut = line_break.end() if line_break else wanted
    length = len(whole)
    del whole
    return Split(
        lambda: iter([Document(text()[:cut])]),
        lambda: iter([Document(text()[cut:])]),
        {"train": cut, "validation": length - cut},
    )
