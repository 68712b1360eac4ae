"""The order of training windows: a function of seed and epoch alone, or that of a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset, Sampler
from transformers import TrainerCallback

from darkit_nb.data.streaming import StreamingWindows
from darkit_nb.errors import DataError


class EpochOrder(Sampler[int]):
    """A permutation of all windows for each epoch, the same in one process and in many, before and after a restart.

    torch's RandomSampler takes its order from the global random state, which differs between one process and several.

    Args:
        windows: what is drawn from; only its length counts.
        seed: of the permutations.
    """

    def __init__(self, windows: Sized, seed: int) -> None:
        self._count, self._seed, self.epoch = len(windows), seed, 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        return iter(np.random.default_rng((self._seed, self.epoch)).permutation(self._count).tolist())

    def set_epoch(self, epoch: int) -> None:
        """Which pass over the data comes next, from 0."""
        self.epoch = epoch


class TellEpoch(TrainerCallback):
    """Sets the epoch of an order; a loader that skips ahead after a resume does not pass it on by itself."""

    def __init__(self, order: EpochOrder) -> None:
        self._order = order

    def on_epoch_begin(self, args: object, state: object, control: object, **kwargs: object) -> None:
        """`state.epoch` is whole at the beginning of an epoch, and in the midst of it after a resume."""
        self._order.set_epoch(int(getattr(state, "epoch", None) or 0))


class EndlessStream(IterableDataset[dict[str, Any]]):
    """One process's share of a stream, begun again when the corpus ends before the training does.

    Args:
        windows: the whole stream.
        rank: of this process.
        world_size: number of processes.

    Raises:
        DataError: while iterating, when a pass over the stream yields no window.
    """

    def __init__(self, windows: StreamingWindows, rank: int, world_size: int) -> None:
        self._windows = windows.shard(rank, world_size)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while True:
            empty = True
            for window in self._windows:
                empty = False
                yield window
            if empty:
                raise DataError(
                    "The training stream is shorter than one window per process.",
                    expected=f"at least {self._windows.seq_len} tokens for each process",
                    received="a stream that ended before",
                    fix="lower data.seq_len, or take a larger corpus",
                )
