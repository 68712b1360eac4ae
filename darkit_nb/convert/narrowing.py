"""How much of each token's range to keep behind an online rotation: the share whose spikes miss the features least.

    argmin_share  Σ_tokens ‖ x − x̂(cut(x, share)) ‖²

Mixed features are nearly Gaussian, so a uniform grid of few values over hundreds of features spends them on rare
extremes; with many values, or few features, nothing is gained by a cut and the share stays 1.

Source: the fixed clipping ratio of activations in Ashkboos et al. 2024 (QuaRot), here searched layer by layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from darkit_nb.nn.rotation import OnlineRotation
from darkit_nb.train.processes import reduce_sum

KEPT_SHARES = tuple(round(1 - 0.05 * step, 2) for step in range(11))
"""Shares that are tried, 1 … 0.5."""

AT_ONCE = 2**17
"""Numbers coded at a time: they stay in the cache for all shares."""


@torch.no_grad()
def best_share(
    rotation: OnlineRotation, inputs: Iterable[Tensor], encode: Callable[[Tensor], Tensor], tokens: int
) -> float:
    """The share to keep, the widest of equals.

    Args:
        rotation: whose last block is cut.
        inputs: rotated features `[*B, D]`, batch by batch, not cut.
        encode: what spikes make of features: their value.
        tokens: how many to look at; whole batches, at least one.
    """
    errors, seen = torch.zeros(len(KEPT_SHARES), dtype=torch.float64), 0
    for x in inputs:
        for part in x.flatten(0, -2).split(max(1, AT_ONCE // x.shape[-1])):
            for index, share in enumerate(KEPT_SHARES):
                missed = torch.linalg.vector_norm(encode(rotation.cut(part, share)) - part, dim=-1)
                errors[index] += missed.double().square().sum().cpu()
        seen += x.shape[:-1].numel()
        if seen >= tokens:
            break
    reduce_sum(errors)
    return KEPT_SHARES[int(errors.argmin())]
