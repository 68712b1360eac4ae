"""Write the tokens of one split as a plain `.npy` file and keep the facts about them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt

from darkit_nb.data.segments import Piece

HISTOGRAM_BINS = 32  # documents of 2^k … 2^(k+1) − 1 tokens fall into bin k


@dataclass(frozen=True)
class SplitFacts:
    """What is known about one split.

    Attributes:
        documents: Documents it holds, the last one perhaps in part.
        tokens: Tokens, end-of-text tokens included.
        learnt_tokens: Tokens that are predicted; fewer only under a loss mask.
        learnt_bytes: UTF-8 bytes of the text these stand for.
        document_lengths: Documents of 2^k to 2^(k+1) − 1 tokens, for k = 0 … 31.
        vocabulary_used: Distinct ids that occur.
        unknown_tokens: Tokens that say only that the vocabulary has no word for the text.
    """

    documents: int
    tokens: int
    learnt_tokens: int
    learnt_bytes: float
    document_lengths: tuple[int, ...]
    vocabulary_used: int
    unknown_tokens: int

    @property
    def bytes_per_token(self) -> float:
        """Mean bytes of text per predicted token."""
        return self.learnt_bytes / max(1, self.learnt_tokens)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self) | {"document_lengths": list(self.document_lengths)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls(**{**values, "document_lengths": tuple(values["document_lengths"])})


class SplitWriter:
    """Collects the pieces of one split in `<name>.npy` and, where a loss mask is in force, `<name>.learnt.npy`.

    Args:
        folder: Where the files go.
        name: `train` or `validation`.
        vocab_size: Decides the width of a token on disk.
        unknown_id: Id of the unknown token, or None.
        limit: Tokens after which no more are taken; None: no limit.
    """

    def __init__(
        self, folder: Path, name: str, *, vocab_size: int, unknown_id: int | None = None, limit: int | None = None
    ) -> None:
        self._tokens = _NpyWriter(folder / f"{name}.npy", token_dtype(vocab_size))
        self._learnt = _NpyWriter(folder / f"{name}.learnt.npy", np.dtype(np.bool_))
        self._seen = np.zeros(vocab_size, dtype=np.bool_)
        self._lengths = [0] * HISTOGRAM_BINS
        self._unknown_id = unknown_id
        self._limit = limit
        self._document = 0
        self._documents = 0
        self._learnt_tokens = 0
        self._unknown = 0
        self._bytes = 0.0

    @property
    def count(self) -> int:
        """Tokens so far."""
        return self._tokens.count

    @property
    def full(self) -> bool:
        """Whether the limit is reached."""
        return self._limit is not None and self._tokens.count >= self._limit

    def add(self, piece: Piece) -> None:
        """Append a piece, or the part of it that the limit allows."""
        if self.full:
            return
        ids = piece.ids if self._limit is None else piece.ids[: self._limit - self._tokens.count]
        self._tokens.append(ids)
        self._learnt.append(np.full(len(ids), piece.segment.learnt))
        self._seen[ids] = True
        self._learnt_tokens += len(ids) * int(piece.segment.learnt)
        self._bytes += piece.learnt_bytes * len(ids) / max(1, len(piece.ids))
        if self._unknown_id is not None:
            self._unknown += int((ids == self._unknown_id).sum())
        self._document += len(ids)
        if self._document and (piece.segment.last or self.full):
            self._documents += 1
            self._lengths[self._document.bit_length() - 1] += 1
            self._document = 0

    def close(self) -> SplitFacts:
        """Finish the files; the mask is removed where it masks nothing."""
        self._tokens.close()
        self._learnt.close()
        if self._learnt_tokens == self._tokens.count:
            self._learnt.path.unlink()
        return SplitFacts(
            documents=self._documents,
            tokens=self._tokens.count,
            learnt_tokens=self._learnt_tokens,
            learnt_bytes=self._bytes,
            document_lengths=tuple(self._lengths),
            vocabulary_used=int(self._seen.sum()),
            unknown_tokens=self._unknown,
        )


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """The narrowest of uint16 and uint32 that holds every id."""
    return np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)


class _NpyWriter:
    """A one-dimensional `.npy` file that grows; its header is written again at the end."""

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self.path = path
        self.count = 0
        self._dtype = dtype
        self._file: BinaryIO = path.open("wb")
        self._write_header()

    def _write_header(self) -> None:
        # NumPy pads headers so that the first axis can grow without moving the data.
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": (self.count,)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def append(self, values: npt.NDArray[Any]) -> None:
        self._file.write(values.astype(self._dtype).tobytes())
        self.count += len(values)

    def close(self) -> None:
        self._file.seek(0)
        self._write_header()
        self._file.close()
