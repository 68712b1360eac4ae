"""Windows over a corpus that is read as it is needed and never stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from darkit_nb.data.corpus import Document
from darkit_nb.data.segments import Piece, encode_documents
from darkit_nb.data.tokenizer import TextTokenizer
from darkit_nb.data.windows import IGNORED


@dataclass(frozen=True)
class StreamingWindows:
    """Non-overlapping windows of a stream of documents, in a fixed order.

    Every process tokenizes the whole stream and keeps each `world_size`-th window, so the shards are disjoint, their
    union does not depend on their number, and a training resumed with another number of processes goes on exactly.

    Attributes:
        documents: Opens the documents.
        tokenizer: Makes the tokens.
        seq_len: Tokens per window L.
        max_tokens: Tokens after which the stream ends; None: with the corpus.
        rank: Which shard this is.
        world_size: Number of shards.
        skipped: Windows of this shard that are left out at the start.
    """

    documents: Callable[[], Iterator[Document]]
    tokenizer: TextTokenizer
    seq_len: int
    max_tokens: int | None = None
    rank: int = 0
    world_size: int = 1
    skipped: int = 0

    def shard(self, rank: int, world_size: int) -> StreamingWindows:
        """The windows that fall to one of `world_size` processes.

        Raises:
            ValueError: the rank is not below `world_size`.
        """
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} of {world_size} processes")
        return replace(self, rank=rank, world_size=world_size)

    def skip(self, count: int) -> StreamingWindows:
        """The same windows without the first `count` of this shard: how a training is resumed."""
        return replace(self, skipped=self.skipped + count)

    def __iter__(self) -> Iterator[dict[str, npt.NDArray[np.int64]]]:
        """`input_ids` [L] and `labels` [L] of one window after the other."""
        first = self.skipped * self.world_size
        for index, (ids, labels) in enumerate(self._windows()):
            if index >= first and index % self.world_size == self.rank:
                yield {"input_ids": ids, "labels": labels}

    def _windows(self) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        size, taken = self.seq_len, 0
        ids = labels = np.empty(0, dtype=np.int64)
        for piece in encode_documents(self.documents(), self.tokenizer):
            new_ids, new_labels = _labelled(piece)
            if self.max_tokens is not None:
                new_ids, new_labels = new_ids[: self.max_tokens - taken], new_labels[: self.max_tokens - taken]
                taken += len(new_ids)
            ids, labels = np.concatenate([ids, new_ids]), np.concatenate([labels, new_labels])
            whole = len(ids) // size * size
            for start in range(0, whole, size):
                window = slice(start, start + size)
                # The first token of a window is never predicted, so a label there does not count.
                if (labels[window][1:] != IGNORED).any():
                    yield ids[window], labels[window]
            ids, labels = ids[whole:], labels[whole:]
            if taken == self.max_tokens:
                return


def _labelled(piece: Piece) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    ids = piece.ids.astype(np.int64)
    return ids, ids if piece.segment.learnt else np.full(len(ids), IGNORED, dtype=np.int64)
