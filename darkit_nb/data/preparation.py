"""From data settings to token windows: split, tokenize, pack, cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from darkit_nb.data.cache import cache_root, fetch, key_of
from darkit_nb.data.corpus import Corpus, DataSettings, Document, Progress, open_corpus
from darkit_nb.data.packing import SplitFacts, SplitWriter
from darkit_nb.data.prepared import PreparedData, TokenizerFacts, load_split
from darkit_nb.data.segments import encode_documents
from darkit_nb.data.split import Split, split_corpus
from darkit_nb.data.tokenizer import TextTokenizer, TokenizerPlan, plan_tokenizer
from darkit_nb.errors import DataError


def prepare(settings: DataSettings, *, seed: int, progress: Progress | None = None) -> PreparedData:
    """Split, tokenize and pack the corpus the settings name, or take it from the cache.

    Args:
        settings: The data section of a run configuration.
        seed: Decides which documents are withheld for validation.
        progress: Called with what is being done and how far it is, from 0 to 1.

    Raises:
        DataError: the corpus or the tokenizer cannot be used, or a split holds less than one window.
    """
    report = progress or (lambda stage, fraction: None)
    _check(settings)
    report("reading", 0.0)
    corpus = open_corpus(settings)
    plan = plan_tokenizer(settings)
    key = key_of(
        {
            "dataset": corpus.name,
            "corpus": corpus.fingerprint,
            "tokenizer": plan.fingerprint,
            "validation_fraction": settings.validation_fraction,
            "seed": seed,
            "max_train_tokens": settings.max_train_tokens,
            "max_validation_tokens": settings.max_validation_tokens,
        }
    )
    folder, facts = fetch(
        cache_root(settings.cache_dir) / "tokens",
        key,
        lambda draft: _build(draft, corpus, plan, settings, seed, report),
    )
    report("ready", 1.0)
    return _open(folder, facts, settings)


def _build(
    folder: Path, corpus: Corpus, plan: TokenizerPlan, settings: DataSettings, seed: int, report: Progress
) -> dict[str, Any]:
    report("splitting", 0.0)
    split = split_corpus(corpus, settings.validation_fraction, seed)
    report("tokenizer", 0.0)
    tokenizer = plan.build(lambda: _texts(split.train()))
    tokenizer.save(folder / "tokenizer")
    limits = {"train": settings.max_train_tokens, "validation": settings.max_validation_tokens}
    facts = {name: _pack(folder, name, split, tokenizer, limits[name], report) for name in limits}
    return {
        "dataset": corpus.name,
        "duplicates_removed": split.duplicates,
        "tokenizer": {
            "name": tokenizer.name,
            "vocab_size": tokenizer.vocab_size,
            "eos_id": tokenizer.eos_id,
            "pad_id": tokenizer.pad_id,
        },
        **{name: split_facts.to_dict() for name, split_facts in facts.items()},
    }


def _pack(
    folder: Path, name: str, split: Split, tokenizer: TextTokenizer, limit: int | None, report: Progress
) -> SplitFacts:
    writer = SplitWriter(folder, name, vocab_size=tokenizer.vocab_size, unknown_id=tokenizer.unknown_id, limit=limit)
    total, done = split.sizes[name], 0
    for piece in encode_documents(split.documents(name), tokenizer):
        writer.add(piece)
        done += len(piece.segment.text)
        report(f"tokenizing {name}", min(1.0, done / max(1, total)))
        if writer.full:
            break
    return writer.close()


def _texts(documents: Iterator[Document]) -> Iterator[str]:
    for document in documents:
        yield from (message.content for message in document.messages)
        if document.text:
            yield document.text


def _open(folder: Path, facts: dict[str, Any], settings: DataSettings) -> PreparedData:
    prepared = PreparedData(
        dataset=facts["dataset"],
        train=load_split(folder, "train", settings.seq_len),
        validation=load_split(folder, "validation", settings.seq_len),
        tokenizer=TokenizerFacts(**facts["tokenizer"], folder=folder / "tokenizer"),
        cache_key=folder.name,
        train_facts=SplitFacts.from_dict(facts["train"]),
        validation_facts=SplitFacts.from_dict(facts["validation"]),
        duplicates_removed=facts["duplicates_removed"],
    )
    for name, windows, split in (
        ("training", prepared.train, prepared.train_facts),
        ("validation", prepared.validation, prepared.validation_facts),
    ):
        if not len(windows):
            raise too_short(prepared.dataset, name, split, settings.seq_len)
    return prepared


def too_short(dataset: str, name: str, facts: SplitFacts, seq_len: int) -> DataError:
    """The error for a split that fills no window."""
    masked = facts.tokens >= seq_len
    return DataError(
        f"The {name} split of {dataset!r} is shorter than one window.",
        expected=f"data.seq_len = {seq_len} tokens at least" + (", an assistant's answer among them" if masked else ""),
        received=f"{facts.tokens} tokens in {facts.documents} documents",
        fix="lower data.seq_len, take a larger corpus"
        + (", or raise data.validation_fraction" if name == "validation" else "")
        + (", or lift the limit on tokens" if facts.tokens else ""),
    )


def _check(settings: DataSettings) -> None:
    limits: tuple[tuple[str, Any, Callable[[Any], bool], str], ...] = (
        ("seq_len", settings.seq_len, lambda value: value >= 2, "2 tokens or more"),
        ("validation_fraction", settings.validation_fraction, lambda value: 0 < value < 1, "between 0 and 1"),
        ("max_train_tokens", settings.max_train_tokens, lambda value: value is None or value > 0, "positive, or none"),
        (
            "max_validation_tokens",
            settings.max_validation_tokens,
            lambda value: value is None or value > 0,
            "positive, or none",
        ),
    )
    for name, value, accepts, expected in limits:
        if not accepts(value):
            raise DataError(f"data.{name} is out of range.", expected=expected, received=repr(value))
