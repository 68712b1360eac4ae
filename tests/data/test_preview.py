"""The first look at a corpus."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from darkit_nb.data import DataPreview, prepare


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for i in range(10):
        (folder / f"{i}.txt").write_text(f"text {i} " * 2**i)
    return f"text:{folder}"


def test_counts_samples_and_lengths(settings: Any, corpus: str) -> None:
    prepared = prepare(settings(dataset=corpus, seq_len=8), seed=0)
    preview = prepared.preview(2)
    assert preview.train is not None
    assert preview.train == prepared.train_facts
    assert preview.validation == prepared.validation_facts
    assert (preview.train_windows, preview.validation_windows) == (len(prepared.train), len(prepared.validation))
    assert [len(sample) for sample in preview.samples] == [8, 8]
    assert "".join(preview.samples).startswith("text ")
    lengths = [a + b for a, b in zip(preview.train.document_lengths, preview.validation.document_lengths, strict=True)]
    assert lengths == [0, 0, 0, 2, *[1] * 8, *[0] * 20]  # 7 · 2^i characters and the end of text
    assert len(prepared.preview(0).samples) == 0


def test_text_form(settings: Any, corpus: str) -> None:
    text = str(prepare(settings(dataset=corpus, seq_len=128), seed=0).preview(1))
    assert text.startswith(f"{corpus} in bytes tokens, windows of 128")
    for part in ("training", "validation", "bytes/token", "vocabulary used", "128 – 255", "█", "sample 1"):
        assert part in text
    assert all(len(line) < 120 for line in text.splitlines() if "text" not in line)


def test_text_form_of_masks_unknowns_and_streams(settings: Any, corpus: str, tmp_path: Path) -> None:
    folder = tmp_path / "words"
    folder.mkdir()
    (folder / "vocab.txt").write_text("[UNK]\n[SEP]\ntext\n")
    text = str(prepare(settings(dataset=corpus, seq_len=8, tokenizer=str(folder)), seed=0).preview())
    assert re.search(r"4\d\.\d\d% unknown", text)  # every second word is a number; the ends of text are known
    assert "[UNK]" in text
    streamed = str(
        prepare(settings(dataset=corpus, seq_len=8, streaming=True, validation_fraction=0.4), seed=0).preview()
    )
    assert "streamed, not counted" in streamed
    assert "tokens per document (validation)" in streamed


def test_survives_json(settings: Any, corpus: str) -> None:
    for streaming in (False, True):
        asked = settings(dataset=corpus, seq_len=8, streaming=streaming, validation_fraction=0.4)
        preview = prepare(asked, seed=0).preview()
        assert DataPreview.from_dict(json.loads(json.dumps(preview.to_dict()))) == preview
