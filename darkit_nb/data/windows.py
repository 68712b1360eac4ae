"""Packed tokens, seen as non-overlapping windows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

IGNORED = -100  # the label that every loss of transformers leaves out


class TokenWindows:
    """Non-overlapping windows over one run of tokens.

    Args:
        tokens: Token ids [N], usually memory-mapped.
        seq_len: Tokens per window L; the tail that fills no window is left out.
        learnt: Which tokens are predicted [N]; None: all. Windows in which none is are left out.
    """

    def __init__(
        self,
        tokens: npt.NDArray[np.unsignedinteger],
        seq_len: int,
        learnt: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        self.tokens = tokens
        self.seq_len = seq_len
        self.learnt = learnt
        count = len(tokens) // seq_len
        self._starts = np.arange(count, dtype=np.int64) * seq_len
        if learnt is not None:
            # The first token of a window is never predicted, so a label there does not count.
            windows = learnt[: count * seq_len].reshape(count, seq_len)
            self._starts = self._starts[windows[:, 1:].any(axis=1)]

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> dict[str, npt.NDArray[np.int64]]:
        """`input_ids` [L] and `labels` [L] of one window; labels are the ids themselves, or -100 where masked.

        Raises:
            IndexError: there are fewer windows.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        start = self._starts[index]
        ids = self.tokens[start : start + self.seq_len].astype(np.int64)
        if self.learnt is None:
            return {"input_ids": ids, "labels": ids.copy()}
        return {"input_ids": ids, "labels": np.where(self.learnt[start : start + self.seq_len], ids, IGNORED)}

    def __iter__(self) -> Iterator[dict[str, npt.NDArray[np.int64]]]:
        return (self[index] for index in range(len(self)))

    def spread(self, count: int) -> list[int]:
        """Indices of `count` windows spread evenly over all of them (all where `count` is 0 or larger).

        A short evaluation should take these: the first windows may all stem from one document.
        """
        if count <= 0 or count >= len(self):
            return list(range(len(self)))
        return [index * len(self) // count for index in range(count)]

    def __repr__(self) -> str:
        return f"TokenWindows({len(self)} windows of {self.seq_len} tokens)"
