"""What a layer sees of the calibration text, gathered token by token and never kept: extremes, sums, Gram matrices.

    low, high  [D]      min and max over tokens                absmax = max(−low, high)
    total      [D]      Σ x                                    mean = total / count
    gram       [D, D]   Σ x xᵀ, or one [W, W] for each of D/W blocks of neighbouring features

Everything is a sum or an extreme, so parts gathered on different shards of the samples merge exactly, up to the order
of float64 additions. Products are taken in float32 per batch and summed in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from darkit_nb.errors import DataError
from darkit_nb.train.processes import reduce_max, reduce_sum


class FeatureStatistics:
    """Statistics of the input of one layer.

    Args:
        features: D.
        gram_width: W, width of the blocks whose Gram matrices are summed; D for the whole, None for none.
        device: where the sums lie.

    Attributes:
        count: tokens seen.
        low, high, total, square: `[D]` float64: minimum, maximum, Σ x and Σ x².
        gram: `[D/W, W, W]` float64 Σ x xᵀ, or None.
    """

    def __init__(
        self, features: int, *, gram_width: int | None = None, device: torch.device | str | None = None
    ) -> None:
        self.features, self.gram_width = features, gram_width
        self.count = 0
        self.low = torch.full((features,), torch.inf, dtype=torch.float64, device=device)
        self.high = torch.full((features,), -torch.inf, dtype=torch.float64, device=device)
        self.total = torch.zeros(features, dtype=torch.float64, device=device)
        self.square = torch.zeros(features, dtype=torch.float64, device=device)
        self.gram: Tensor | None = None
        if gram_width:
            shape = (features // gram_width, gram_width, gram_width)
            self.gram = torch.zeros(shape, dtype=torch.float64, device=device)

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Take in the tokens of `x` `[*B, D]`.

        Raises:
            DataError: a value that is not finite.
        """
        flat = x.detach().reshape(-1, self.features).to(torch.promote_types(x.dtype, torch.float32))
        low, high = flat.amin(0).double(), flat.amax(0).double()
        if not bool(torch.isfinite(low + high).all()):
            raise not_finite("The input of a layer", int((~torch.isfinite(low + high)).sum()), self.features)
        self.count += flat.shape[0]
        torch.minimum(self.low, low, out=self.low)
        torch.maximum(self.high, high, out=self.high)
        self.total += flat.sum(0, dtype=torch.float64)
        self.square += flat.square().sum(0, dtype=torch.float64)
        if self.gram is not None and self.gram_width:
            blocks = flat.unflatten(1, (-1, self.gram_width)).transpose(0, 1)
            self.gram.add_(blocks.transpose(1, 2) @ blocks)  # float32 into float64, without a copy

    def divide(self, scale: Tensor) -> None:
        """What the statistics become when the features are divided by `scale` `[D]`, positive."""
        self.low /= scale
        self.high /= scale
        self.total /= scale
        self.square /= scale.square()
        if self.gram is not None and self.gram_width:
            blocks = scale.view(-1, self.gram_width)
            self.gram /= blocks.unsqueeze(1) * blocks.unsqueeze(2)

    def reduce(self) -> None:
        """Merge across the processes of torch.distributed; afterwards all hold the same. Nothing happens without."""
        count = torch.tensor(float(self.count), dtype=torch.float64, device=self.total.device)
        reduce_sum(self.total, self.square, count, *([] if self.gram is None else [self.gram]))
        self.low.neg_()
        reduce_max(self.low, self.high)
        self.low.neg_()
        self.count = int(count)

    @property
    def absmax(self) -> Tensor:
        """`[D]` float64, largest magnitude over tokens."""
        return torch.maximum(-self.low, self.high)

    @property
    def mean(self) -> Tensor:
        """`[D]` float64, mean over tokens."""
        return self.total / max(1, self.count)

    @property
    def matrix(self) -> Tensor:
        """`[D, D]` float64, mean of x xᵀ over tokens.

        Raises:
            ValueError: no Gram matrix of the whole width was asked for.
        """
        return self._whole() / max(1, self.count)

    def take_matrix(self) -> Tensor:
        """`matrix` in the memory of `gram`, which these statistics hold no longer.

        Raises:
            ValueError: no Gram matrix of the whole width was asked for.
        """
        whole, self.gram = self._whole(), None
        return whole.div_(max(1, self.count))

    def _whole(self) -> Tensor:
        if self.gram is None or self.gram.shape[0] != 1:
            raise ValueError("these statistics hold no Gram matrix of the whole width")
        return self.gram[0]


def not_finite(where: str, faulty: int, of: int, what: str = "features") -> DataError:
    """The error of calibration values that are not numbers."""
    return DataError(
        f"{where} is not finite on the calibration text.",
        expected="finite activations of the float model",
        received=f"NaN or infinity in {faulty} of {of} {what}",
        cause="the weights hold NaN, the checkpoint is damaged, or 16-bit floats overflowed",
        fix="check that the float model's loss on the same text is finite",
    )


@contextmanager
def watching(modules: dict[str, nn.Module], see: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Call `see(name, input)` at each forward of the named modules."""

    def hook(name: str) -> Callable[..., None]:
        def call(_: nn.Module, args: tuple[Any, ...]) -> None:
            see(name, args[0])

        return call

    handles = [module.register_forward_pre_hook(hook(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class Reached(Exception):  # noqa: N818 - no error: a way out of a forward
    """Raised by a hook when everything that was to be seen has been seen: the rest of the forward is not needed."""
