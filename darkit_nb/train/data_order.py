"""The order of training windows: a function of seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator, Sized

import numpy as np
from torch.utils.data import Sampler
from transformers import TrainerCallback


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
