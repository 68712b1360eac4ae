"""How much of each token's range to keep before it is coded: the share whose spikes miss the features least.

    argmin_share  Σ_tokens ‖ x − x̂(cut(x, share)) ‖²

Mixed features are nearly Gaussian, so a uniform grid of few values over hundreds of features spends them on rare
extremes; with many values, or few features, nothing is gained by a cut and the share stays 1.

Source: the fixed clipping ratio of activations in Ashkboos et al. 2024 (QuaRot), here searched layer by layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from darkit_nb.convert.folding import linear_of
from darkit_nb.convert.seen import Coding, encoded
from darkit_nb.nn.rotation import OnlineRotation, RangeCut
from darkit_nb.train.processes import reduce_sum

KEPT_SHARES = tuple(round(1 - 0.05 * step, 2) for step in range(11))
"""Shares that are tried, 1 … 0.5."""

AT_ONCE = 2**17
"""Numbers coded at a time: they stay in the cache for all shares."""


@torch.no_grad()
def best_share(
    rotation: OnlineRotation | RangeCut, inputs: Iterable[Tensor], encode: Callable[[Tensor], Tensor], tokens: int
) -> float:
    """The share to keep, the widest of equals.

    Args:
        rotation: what cuts.
        inputs: mixed features `[*B, D]`, batch by batch, not cut.
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


@torch.no_grad()
def cut_before(at: Coding, members: Sequence[str], masks: dict[str, Tensor | None], tokens: int) -> RangeCut | None:
    """Put before layers that read a rotated norm what cuts the range of their features with one step.

    Args:
        at: the block, with everything before these layers coded.
        members: names of the layers, which share their input.
        masks: salient features by layer; a split makes the first ones salient.
        tokens: as `best_share`.

    Returns:
        What now stands before each of them; None where nothing is cut.
    """
    first, spike, family = members[0], at.spec.spike, at.skeleton.family
    mask = masks[first]
    begin = 0 if mask is None else int(mask.sum())
    together = all(other is mask for other in masks.values()) and (mask is None or bool(mask[:begin].all()))
    normed = any(first in readers for _, readers in family.norms)
    if spike is None or not (normed and together and at.spec.rotation in ("hadamard", "split")):
        return None
    cut = RangeCut(linear_of(at.block, first).in_features, begin)
    cut.keep = best_share(cut, (x for x, _ in at.inputs(first)), lambda x: encoded(x, spike, mask), tokens)
    if cut.keep == 1.0:
        return None
    for name in members:
        at.block.set_submodule(name, nn.Sequential(cut, linear_of(at.block, name)))
    return cut
