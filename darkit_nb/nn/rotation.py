"""What stands before a neuron while the model runs, where no weight can absorb it.

`OnlineRotation` mixes features orthogonally; `RangeCut` cuts the range of features that weights have mixed already.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from darkit_nb.functional.rotation import random_signs, rotation_matrix
from darkit_nb.ops.backend import wants_operators
from darkit_nb.ops.memory_state import State, same_state, state_of
from darkit_nb.ops.rotation import block_rotation, cut_last, factors_before, range_cut


class OnlineRotation(nn.Module):
    """x · R, R = diag(signs) · blockdiag(Hadamard …), without holding R (`functional.rotation`).

    Args:
        blocks: widths of the blocks that mix within themselves, in the order of features.
        seed: of the signs; None begins with all +1, as before loading them.
        keep: share of each token's range that is let through in the last block, the one whose features get one step
            (`functional.rotation.narrow_range`); 1 is the rotation alone.
        device: of the signs.

    Shape: `[*B, D] → [*B, D]`, D being the sum of the blocks.

    Attributes:
        signs: int8 `[D]`, ±1; saved.
    """

    signs: Tensor

    def __init__(
        self,
        blocks: Sequence[int],
        *,
        seed: int | None = None,
        keep: float = 1.0,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.blocks = tuple(int(block) for block in blocks)
        self.keep = keep
        width = sum(self.blocks)
        signs = torch.ones(width, dtype=torch.int8) if seed is None else random_signs(width, seed)
        self.register_buffer("signs", signs.to(device))
        self._ready: tuple[State, Tensor] | None = None

    @property
    def features(self) -> int:
        """D, the width it rotates."""
        return sum(self.blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the last axis of `x`, and cut the range of its last block."""
        signs = self.signs
        return block_rotation(x, self.blocks, signs, keep=self.keep, before=self._before(signs))

    def _before(self, signs: Tensor) -> Tensor | None:
        """The signs as the library wants them, made again when they have changed."""
        state = state_of([signs]) if signs.is_cpu and not wants_operators() else None
        if state is None:
            return None
        ready = self._ready
        if ready is None or not same_state(ready[0], state):
            ready = self._ready = (state, factors_before(self.blocks, signs))
        return ready[1]

    def cut(self, mixed: Tensor, keep: float) -> Tensor:
        """Mixed features with the range of their last block cut to the share `keep` of it."""
        return cut_last(mixed, self.blocks, keep)

    def matrix(self) -> Tensor:
        """R, float64 `[D, D]`, on the CPU, whatever is cut behind it."""
        return rotation_matrix(self.blocks, self.signs.cpu())

    def extra_repr(self) -> str:
        """What mixes, for `print(model)`."""
        return f"blocks={self.blocks}" + (f", keep={self.keep}" if self.keep != 1.0 else "")


class RangeCut(nn.Module):
    """Cuts the range of a token's features from `begin` on, those with one step (`functional.rotation.narrow_range`).

    Args:
        features: D.
        begin: features before it, the salient ones, stay as they are.
        keep: share of the range that is let through.

    Shape: `[*B, D] → [*B, D]`.
    """

    def __init__(self, features: int, begin: int = 0, *, keep: float = 1.0) -> None:
        super().__init__()
        self.features, self.begin, self.keep = features, begin, keep

    def forward(self, x: Tensor) -> Tensor:
        """Cut the range of `x`."""
        return range_cut(x, self.begin, self.keep)

    def cut(self, x: Tensor, keep: float) -> Tensor:
        """The same with another share."""
        return range_cut(x, self.begin, keep)

    def extra_repr(self) -> str:
        """What is cut, for `print(model)`."""
        return f"features={self.features}, begin={self.begin}, keep={self.keep}"
