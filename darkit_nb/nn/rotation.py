"""`OnlineRotation`: an orthogonal mixing of features while the model runs, where no weight can absorb it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from darkit_nb.functional.rotation import random_signs, rotation_matrix
from darkit_nb.ops.rotation import block_rotation


class OnlineRotation(nn.Module):
    """x · R, R = diag(signs) · blockdiag(Hadamard …), without holding R (`functional.rotation`).

    Args:
        blocks: widths of the blocks that mix within themselves, in the order of features.
        seed: of the signs; None begins with all +1, as before loading them.
        device: of the signs.

    Shape: `[*B, D] → [*B, D]`, D being the sum of the blocks.

    Attributes:
        signs: int8 `[D]`, ±1; saved.
    """

    signs: Tensor

    def __init__(
        self, blocks: Sequence[int], *, seed: int | None = None, device: torch.device | str | None = None
    ) -> None:
        super().__init__()
        self.blocks = tuple(int(block) for block in blocks)
        width = sum(self.blocks)
        signs = torch.ones(width, dtype=torch.int8) if seed is None else random_signs(width, seed)
        self.register_buffer("signs", signs.to(device))

    @property
    def features(self) -> int:
        """D, the width it rotates."""
        return sum(self.blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the last axis of `x`."""
        return block_rotation(x, self.blocks, self.signs)

    def matrix(self) -> Tensor:
        """R, float64 `[D, D]`, on the CPU."""
        return rotation_matrix(self.blocks, self.signs.cpu())

    def extra_repr(self) -> str:
        """What mixes, for `print(model)`."""
        return f"blocks={self.blocks}"
