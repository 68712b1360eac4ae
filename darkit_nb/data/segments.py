"""Documents become runs of ids, piece by piece: what packing and streaming share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from darkit_nb.data.corpus import Document
from darkit_nb.data.pieces import split_text
from darkit_nb.data.tokenizer import Ids, TextTokenizer

BATCH_CHARS = 1 << 19  # text tokenized in one call: enough for all cores, little enough to stay small


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a document that is treated alike.

    Attributes:
        text: What is tokenized.
        learnt: Whether its tokens are predicted.
        markup: Whether special tokens written in it are special.
        eos: Whether the end-of-text token follows.
        last: Whether the document ends here.
    """

    text: str
    learnt: bool = True
    markup: bool = False
    eos: bool = False
    last: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """A tokenized segment, end-of-text token included where it has one."""

    ids: Ids
    segment: Segment

    @property
    def learnt_bytes(self) -> int:
        """Bytes of text the learnt tokens stand for."""
        return len(self.segment.text.encode()) if self.segment.learnt else 0


def encode_documents(documents: Iterable[Document], tokenizer: TextTokenizer) -> Iterator[Piece]:
    """Tokenize documents in order, a bounded amount of text at a time."""
    batch: list[Segment] = []
    chars = 0
    for document in documents:
        for segment in segment_document(document, tokenizer):
            batch.append(segment)
            chars += len(segment.text) + 1
            if chars >= BATCH_CHARS:
                yield from _encode(batch, tokenizer)
                batch, chars = [], 0
    yield from _encode(batch, tokenizer)


def segment_document(document: Document, tokenizer: TextTokenizer) -> Iterator[Segment]:
    """The segments of one document; exactly one of them, the final one, is `last`."""
    if document.messages:
        from darkit_nb.data.chat_template import segment_chat

        yield from segment_chat(document.messages, tokenizer)
        return
    pieces = split_text(document.text)
    piece = next(pieces, "")
    for following in pieces:
        yield Segment(piece)
        piece = following
    yield Segment(piece, eos=True, last=True)


def _encode(batch: list[Segment], tokenizer: TextTokenizer) -> Iterator[Piece]:
    literal = iter(tokenizer.encode([segment.text for segment in batch if not segment.markup]))
    markup = iter(tokenizer.encode_markup([segment.text for segment in batch if segment.markup]))
    eos = np.array([tokenizer.eos_id], dtype=np.uint32)
    for segment in batch:
        ids = next(markup if segment.markup else literal)
        yield Piece(np.concatenate([ids, eos]) if segment.eos else ids, segment)
