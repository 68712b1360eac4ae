"""From data settings to token windows: split, tokenize, pack, cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkit_nb.data.cache import cache_root, fetch, key_of
from darkit_nb.data.corpus import Corpus, DataSettings, Document, Progress, open_corpus
from darkit_nb.data.packing import SplitFacts, SplitWriter
from darkit_nb.data.prepared import PreparedData, TokenizerFacts, load_split
from darkit_nb.data.segments import encode_documents
from darkit_nb.data.split import Split, split_corpus, split_stream
from darkit_nb.data.streaming import StreamingWindows
from darkit_nb.data.tokenizer import TextTokenizer, TokenizerPlan, plan_tokenizer
from darkit_nb.data.tokenizer_files import load_folder
from darkit_nb.errors import DataError

STREAMED_VALIDATION_TOKENS = 1 << 18  # withheld from a stream where no limit is set


def prepare(settings: DataSettings, *, seed: int, progress: Progress | None = None) -> PreparedData:
    """Split, tokenize and pack the corpus the settings name, or take it from the cache.

    With `streaming` only the validation split is packed; training reads the corpus as it goes.

    Args:
        settings: The data section of a run configuration.
        seed: Decides which documents are withheld for validation.
        progress: Called with what is being done and how far it is, from 0 to 1.

    Raises:
        DataError: the corpus or the tokenizer cannot be used, or a split holds less than one window.
    """
    _check(settings)
    report = progress or (lambda stage, fraction: None)
    report("reading", 0.0)
    job = _Preparation(settings, seed, report, open_corpus(settings), plan_tokenizer(settings))
    folder, facts = fetch(cache_root(settings.cache_dir) / "tokens", job.key, job.build)
    prepared = job.open(folder, facts)
    report("ready", 1.0)
    return prepared


@dataclass(frozen=True)
class _Preparation:
    """One call of `prepare`, once it is known what is read and with which tokenizer."""

    settings: DataSettings
    seed: int
    report: Progress
    corpus: Corpus
    plan: TokenizerPlan

    @property
    def split_fields(self) -> dict[str, Any]:
        """What decides which documents are trained on."""
        return {
            "dataset": self.corpus.name,
            "corpus": self.corpus.fingerprint,
            "validation_fraction": self.settings.validation_fraction,
            "seed": self.seed,
            "streaming": self.settings.streaming,
            "tokenizer": self.plan.fingerprint,
        }

    @property
    def key(self) -> str:
        """Name of the cache entry: everything its content depends on. Windows are cut later, so `seq_len` is not."""
        limits = {
            "max_train_tokens": None if self.settings.streaming else self.settings.max_train_tokens,
            "max_validation_tokens": self.settings.max_validation_tokens,
        }
        return key_of(self.split_fields | limits)

    def split(self) -> Split:
        """Training and validation documents."""
        divide = split_stream if self.settings.streaming else split_corpus
        return divide(self.corpus, self.settings.validation_fraction, self.seed)

    def build(self, folder: Path) -> dict[str, Any]:
        """Fill a cache entry and return the facts about it."""
        self.report("splitting", 0.0)
        split = self.split()
        self.report("tokenizer", 0.0)
        tokenizer = self.tokenizer(split)
        tokenizer.save(folder / "tokenizer")
        facts: dict[str, Any] = {
            "duplicates_removed": split.duplicates,
            "vocab_size": tokenizer.vocab_size,
            "eos_id": tokenizer.eos_id,
            "pad_id": tokenizer.pad_id,
        }
        limit = self.settings.max_validation_tokens
        if self.settings.streaming:
            limit = limit or STREAMED_VALIDATION_TOKENS
        else:
            facts["train"] = self._pack(folder, "train", split, tokenizer, self.settings.max_train_tokens).to_dict()
        facts["validation"] = self._pack(folder, "validation", split, tokenizer, limit).to_dict()
        return facts

    def tokenizer(self, split: Split) -> TextTokenizer:
        """The planned tokenizer; one that is trained has a cache entry of its own, which limits do not change."""
        if not self.plan.trained:
            return self.plan.build(lambda: texts_of(split.train()))

        def train(draft: Path) -> dict[str, Any]:
            self.plan.build(lambda: texts_of(split.train())).save(draft)
            return {}

        folder, _ = fetch(cache_root(self.settings.cache_dir) / "tokenizers", key_of(self.split_fields), train)
        return load_folder(self.settings.tokenizer, folder)

    def _pack(self, folder: Path, name: str, split: Split, tokenizer: TextTokenizer, limit: int | None) -> SplitFacts:
        writer = SplitWriter(
            folder, name, vocab_size=tokenizer.vocab_size, unknown_id=tokenizer.unknown_id, limit=limit
        )
        done = 0
        for piece in encode_documents(split.documents(name), tokenizer):
            writer.add(piece)
            done += len(piece.segment.text)
            by_text = done / split.sizes[name] if split.sizes[name] else 0.0
            by_limit = writer.count / limit if limit else 0.0
            self.report(f"tokenizing {name}", min(1.0, max(by_text, by_limit)))
            if writer.full:
                break
        return writer.close()

    def open(self, folder: Path, facts: dict[str, Any]) -> PreparedData:
        """Prepared data over a cache entry.

        Raises:
            DataError: a split holds less than one window.
        """
        train = self._stream() if self.settings.streaming else load_split(folder, "train", self.settings.seq_len)
        prepared = PreparedData(
            dataset=self.corpus.name,
            train=train,
            validation=load_split(folder, "validation", self.settings.seq_len),
            tokenizer=TokenizerFacts(
                self.settings.tokenizer, facts["vocab_size"], facts["eos_id"], facts["pad_id"], folder / "tokenizer"
            ),
            cache_key=folder.name,
            train_facts=None if self.settings.streaming else SplitFacts.from_dict(facts["train"]),
            validation_facts=SplitFacts.from_dict(facts["validation"]),
            duplicates_removed=facts["duplicates_removed"],
        )
        if next(iter(prepared.train), None) is None:
            raise _too_short(prepared, "training", prepared.train_facts)
        if not len(prepared.validation):
            raise _too_short(prepared, "validation", prepared.validation_facts)
        return prepared

    def _stream(self) -> StreamingWindows:
        split = self.split()
        return StreamingWindows(
            split.train, self.tokenizer(split), self.settings.seq_len, self.settings.max_train_tokens
        )


def texts_of(documents: Iterator[Document]) -> Iterator[str]:
    """Every text in documents, turn by turn."""
    for document in documents:
        yield from (message.content for message in document.messages)
        if document.text:
            yield document.text


def _too_short(prepared: PreparedData, name: str, facts: SplitFacts | None) -> DataError:
    seq_len = prepared.validation.seq_len
    masked = facts is not None and facts.tokens >= seq_len
    return DataError(
        f"The {name} split of {prepared.dataset!r} is shorter than one window.",
        expected=f"data.seq_len = {seq_len} tokens at least" + (", an assistant's answer among them" if masked else ""),
        received="less" if facts is None else f"{facts.tokens} tokens in {facts.documents} documents",
        fix="lower data.seq_len, take a larger corpus"
        + (", raise data.validation_fraction" if name == "validation" else "")
        + f", or lift data.max_{'train' if name == 'training' else 'validation'}_tokens if it is set",
    )


def _check(settings: DataSettings) -> None:
    ranges = {
        "seq_len": (settings.seq_len >= 2, "2 tokens or more"),
        "validation_fraction": (0 < settings.validation_fraction < 1, "more than 0 and less than 1"),
        "max_train_tokens": ((settings.max_train_tokens or 0) >= 0, "a positive number, or none"),
        "max_validation_tokens": ((settings.max_validation_tokens or 0) >= 0, "a positive number, or none"),
    }
    for name, (accepted, expected) in ranges.items():
        if not accepted:
            raise DataError(f"data.{name} is out of range.", expected=expected, received=repr(getattr(settings, name)))
