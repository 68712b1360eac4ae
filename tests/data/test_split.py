"""No document is on both sides."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkit_nb.data.corpus import Corpus, Document, Message
from darkit_nb.data.split import split_corpus, split_stream
from darkit_nb.errors import DataError


def corpus(train: list[str], validation: list[str] | None = None) -> Corpus:
    return Corpus(
        "c",
        "f",
        lambda: iter([Document(text) for text in train]),
        None if validation is None else lambda: iter([Document(text) for text in validation]),
    )


TEXTS = st.lists(st.text("ab", min_size=1, max_size=6), min_size=1, max_size=30).filter(lambda t: len(set(t)) > 1)


@given(TEXTS, st.floats(0.01, 0.9), st.integers(0, 3))
def test_split_by_document(texts: list[str], fraction: float, seed: int) -> None:
    split = split_corpus(corpus(texts), fraction, seed)
    train, validation = ([d.text for d in side()] for side in (split.train, split.validation))
    assert train
    assert validation
    assert not set(train) & set(validation)
    assert sorted(train + validation) == sorted(texts)
    withheld, total = sum(map(len, validation)), sum(map(len, texts))
    smallest = min(sum(len(t) for t in texts if t == text) for text in set(texts))
    assert withheld <= max(fraction * total, smallest)
    assert split.sizes == {"train": total - withheld, "validation": withheld}
    assert [d.text for d in split_corpus(corpus(texts), fraction, seed).validation()] == validation


def test_seed_decides_what_is_withheld() -> None:
    texts = [f"document {i}" for i in range(50)]
    chosen = {tuple(d.text for d in split_corpus(corpus(texts), 0.1, seed).validation()) for seed in range(5)}
    assert len(chosen) == 5


@given(TEXTS, st.lists(st.text("ab", min_size=1, max_size=2), min_size=1, max_size=4))
def test_given_split_loses_its_duplicates(train: list[str], validation: list[str]) -> None:
    kept = [text for text in train if text not in validation]
    if not kept:
        with pytest.raises(DataError, match="empty"):
            split_corpus(corpus(train, validation), 0.5, 0)
        return
    for split in (split_corpus(corpus(train, validation), 0.5, 0), split_stream(corpus(train, validation), 0.5, 0)):
        assert [d.text for d in split.train()] == kept
        assert [d.text for d in split.validation()] == validation
    split = split_corpus(corpus(train, validation), 0.5, 0)
    assert split.duplicates == len(train) - len(kept)
    assert split.sizes == {"train": sum(map(len, kept)), "validation": sum(map(len, validation))}


@pytest.mark.parametrize("copies", [1, 3])
def test_single_text_is_cut_at_a_line(copies: int) -> None:
    text = "".join(f"line {i}\n" for i in range(100))
    split = split_corpus(corpus([text] * copies), 0.2, 0)
    (train,), (validation,) = list(split.train()), list(split.validation())
    assert train.text + validation.text == text
    assert train.text.endswith("\n")
    assert 0.15 < len(validation.text) / len(text) <= 0.2


def test_single_text_without_lines() -> None:
    split = split_corpus(corpus(["x" * 10]), 0.3, 0)
    assert [d.text for d in split.validation()] == ["xxx"]


def test_single_conversation_cannot_be_split() -> None:
    chat = Document(messages=(Message("user", "a"), Message("assistant", "b")))
    with pytest.raises(DataError, match="single conversation"):
        split_corpus(Corpus("c", "f", lambda: iter([chat])), 0.5, 0)


def test_no_document() -> None:
    with pytest.raises(DataError, match="'c' is empty"):
        split_corpus(corpus([]), 0.5, 0)


@given(TEXTS, st.integers(0, 3))
def test_stream_draws_each_document_by_itself(texts: list[str], seed: int) -> None:
    split = split_stream(corpus(texts), 0.3, seed)
    train, validation = ([d.text for d in side()] for side in (split.train, split.validation))
    assert sorted(train + validation) == sorted(texts)
    assert not set(train) & set(validation)
    shorter = split_stream(corpus(texts[:-1]), 0.3, seed)
    assert {d.text for d in shorter.validation()} <= set(validation)


def test_stream_withholds_the_fraction() -> None:
    split = split_stream(corpus([str(i) for i in range(5000)]), 0.2, 1)
    assert 900 < sum(1 for _ in split.validation()) < 1100
