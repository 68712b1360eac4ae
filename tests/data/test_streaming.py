"""Streams: the windows of the packed corpus, shard by shard, in bounded memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkit_nb.data import prepare
from darkit_nb.data.byte_tokenizer import ByteTokenizer
from darkit_nb.data.corpus import Document, Message
from darkit_nb.data.streaming import StreamingWindows
from darkit_nb.errors import DataError

TOKENIZER = ByteTokenizer()


def stream(texts: list[str], seq_len: int = 4, max_tokens: int | None = None) -> StreamingWindows:
    return StreamingWindows(lambda: iter([Document(text) for text in texts]), TOKENIZER, seq_len, max_tokens)


def ids(windows: Any) -> list[list[int]]:
    return [window["input_ids"].tolist() for window in windows]


@given(st.lists(st.text("abc", min_size=1, max_size=9), max_size=9), st.none() | st.integers(1, 30))
def test_windows_of_the_joined_documents(texts: list[str], limit: int | None) -> None:
    joined = [token for text in texts for token in [*text.encode(), 256]][:limit]
    assert ids(stream(texts, 4, limit)) == [joined[i : i + 4] for i in range(0, len(joined) - 3, 4)]


@given(st.integers(1, 5), st.integers(0, 6))
def test_shards_and_resuming(world_size: int, skipped: int) -> None:
    windows = stream(["abcdefg" * 20])
    shards = [ids(windows.shard(rank, world_size)) for rank in range(world_size)]
    whole = ids(windows)
    assert [window for turn in zip(*shards, strict=False) for window in turn] == whole[: len(shards[-1]) * world_size]
    assert sorted(window for shard in shards for window in shard) == sorted(whole)
    for rank, shard in enumerate(shards):
        resumed = windows.shard(rank, world_size).skip(skipped)
        assert ids(resumed) == shard[skipped:]
        assert ids(resumed.skip(1)) == shard[skipped + 1 :]


def test_rank_out_of_range() -> None:
    with pytest.raises(ValueError, match="rank 2 of 2"):
        stream(["a"]).shard(2, 2)


def test_masked_windows_are_left_out() -> None:
    chat = Document(messages=(Message("user", "q" * 20), Message("assistant", "abc")))
    windows = list(StreamingWindows(lambda: iter([chat]), TOKENIZER, 5))
    assert [window["labels"].tolist() for window in windows] == [[-100, -100, 97, 98, 99]]
    assert windows[0]["input_ids"].tolist() == [113, 260, 97, 98, 99]


def test_window_learnt_at_its_first_token_only_is_left_out() -> None:
    chat = Document(messages=(Message("user", "qqq"), Message("assistant", ""), Message("user", "r" * 9)))
    windows = StreamingWindows(lambda: iter([chat]), TOKENIZER, 5)
    assert [window["labels"].tolist() for window in windows] == []


def test_prepared_stream_withholds_its_validation(settings: Any, tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for i in range(200):
        (folder / f"{i}.txt").write_text(f"[{i:03d}]" * 5)
    asked = {"dataset": f"text:{folder}", "seq_len": 26, "validation_fraction": 0.2}
    streamed = prepare(settings(**asked, streaming=True), seed=3)

    def numbers(windows: Any) -> set[int]:
        return {int(bytes(window["input_ids"][1:4].astype(np.uint8))) for window in windows}

    train, validation = numbers(streamed.train), numbers(streamed.validation)
    assert not train & validation
    assert train | validation == set(range(200))
    assert 20 < len(validation) < 60
    assert streamed.train_facts is None
    again = prepare(settings(**asked, streaming=True), seed=3)
    assert ids(again.train) == ids(streamed.train)
    assert again.cache_key == streamed.cache_key
    limited = prepare(settings(**asked, streaming=True, max_validation_tokens=260, max_train_tokens=520), seed=3)
    assert (len(list(limited.train)), len(limited.validation)) == (20, 10)


def test_trained_tokenizer_of_a_stream(settings: Any, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(f"line {i} of text\n" for i in range(200_000)))
    asked = settings(dataset=f"text:{tmp_path / 'a.txt'}", tokenizer="bpe:300", streaming=True, validation_fraction=0.4)
    prepared = prepare(asked, seed=0)
    text = prepared.load_tokenizer().decode(next(iter(prepared.train))["input_ids"])
    assert " of text\nline" in text
    assert prepared.bytes_per_token > 1.5


def test_stream_shorter_than_a_window(settings: Any, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("short")
    with pytest.raises(DataError, match="shorter than one window"):
        prepare(settings(dataset=f"text:{tmp_path / 'a.txt'}", streaming=True), seed=0)


def test_memory_stays_bounded() -> None:
    """Twenty megabytes of documents pass through; never more than a few are held."""
    words = "a spiking neuron emits integers " * 32

    def documents() -> Iterator[Document]:
        return (Document(f"{i} {words}") for i in range(20_000))

    windows = StreamingWindows(documents, TOKENIZER, 256)
    tracemalloc.start()
    count = sum(1 for _ in windows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count * 256 > 20_000_000
    assert peak < 10_000_000
