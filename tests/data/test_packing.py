"""What lies on disk is what a naive packing gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkit_nb.data import segments
from darkit_nb.data.byte_tokenizer import ByteTokenizer
from darkit_nb.data.corpus import Document, Message
from darkit_nb.data.packing import SplitFacts, SplitWriter, token_dtype
from darkit_nb.data.segments import encode_documents

TOKENIZER = ByteTokenizer()
TEXTS = st.lists(st.text("aé\n", min_size=1, max_size=12), min_size=1, max_size=8)


def pack(folder: Path, documents: list[Document], limit: int | None = None) -> SplitFacts:
    writer = SplitWriter(folder, "train", vocab_size=TOKENIZER.vocab_size, unknown_id=ord("a"), limit=limit)
    for piece in encode_documents(documents, TOKENIZER):
        writer.add(piece)
    return writer.close()


@given(TEXTS, st.none() | st.integers(1, 40), st.integers(1, 30))
def test_against_naive_packing(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], limit: int | None, batch: int
) -> None:
    folder = tmp_path_factory.mktemp("packed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "BATCH_CHARS", batch)
        facts = pack(folder, [Document(text) for text in texts], limit)
    stream = [token for text in texts for token in [*text.encode(), 256]][:limit]
    tokens = np.load(folder / "train.npy", mmap_mode="r")
    assert tokens.tolist() == stream
    assert tokens.dtype == np.uint16
    assert not (folder / "train.learnt.npy").exists()
    assert facts.tokens == facts.learnt_tokens == len(stream)
    assert facts.vocabulary_used == len(set(stream))
    assert facts.unknown_tokens == stream.count(ord("a"))
    assert facts.documents == sum(facts.document_lengths) == stream[:-1].count(256) + 1
    if limit is None:
        lengths = [len(text.encode()) + 1 for text in texts]
        assert [sum(2**k <= n < 2 ** (k + 1) for n in lengths) for k in range(32)] == list(facts.document_lengths)
        assert facts.learnt_bytes == sum(lengths) - len(texts)


def test_mask_is_kept_where_it_masks(tmp_path: Path) -> None:
    facts = pack(tmp_path, [Document(messages=(Message("user", "ab"), Message("assistant", "c")))])
    assert np.load(tmp_path / "train.npy").tolist() == [259, 97, 98, 260, 99, 256]
    assert np.load(tmp_path / "train.learnt.npy").tolist() == [False] * 4 + [True] * 2
    assert (facts.learnt_tokens, facts.learnt_bytes, facts.bytes_per_token) == (2, 1.0, 0.5)


def test_facts_survive_json(tmp_path: Path) -> None:
    facts = pack(tmp_path, [Document("abc")])
    assert SplitFacts.from_dict(facts.to_dict()) == facts


def test_width_of_a_token() -> None:
    assert token_dtype(65536) == np.uint16
    assert token_dtype(65537) == np.uint32


def test_long_documents_are_encoded_piece_by_piece() -> None:
    text = "some line of text\n" * 20_000
    pieces = list(encode_documents([Document(text)], TOKENIZER))
    assert len(pieces) > 3
    assert [piece.segment.eos for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert bytes(np.concatenate([piece.ids for piece in pieces])[:-1].astype(np.uint8)).decode() == text
