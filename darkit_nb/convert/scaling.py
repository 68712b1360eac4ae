"""Scales that move outliers from activations into weights without changing the function.

For features x of a layer with weight W, y = (x / s) · (W diag(s))ᵀ for every s > 0. The division is folded into what
makes x: the norm's gain, the value layer, the layer before the MLP's last one.

    s_c = max|x_c|^α / max_o |W_oc|^(1−α)

Source: Xiao et al. 2023 (SmoothQuant, arXiv 2211.10438), eq. 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SMALLEST, LARGEST = 1e-4, 1e4
"""Limits of a scale: a dead feature or an all-zero column must not give 0 or infinity."""


def smooth_scale(absmax: Tensor, weights: Sequence[Tensor], alpha: float) -> Tensor:
    """The closed form above, `[D]` float64; 1 where a feature never fires or no weight reads it.

    Args:
        absmax: `[D]`, largest magnitude of each feature on the calibration text.
        weights: `[O, D]` of every layer that reads the features.
        alpha: share of an outlier that moves into the weights.
    """
    activation = absmax.double()
    column = torch.stack([weight.abs().amax(0).double() for weight in weights]).amax(0)
    scale = activation.pow(alpha) / column.pow(1 - alpha)
    live = (activation > 0) & (column > 0)
    return torch.where(live, scale, torch.ones_like(scale)).clamp(SMALLEST, LARGEST)


def shared_among_heads(scale: Tensor, heads: int, kv_heads: int) -> Tensor:
    """One scale per value feature from one per feature of the heads: the largest among the heads that share it.

    Args:
        scale: `[heads · K]`, in the order of the output layer's inputs.
        heads, kv_heads: query heads and value heads.

    Returns:
        `[kv_heads · K]`.
    """
    return scale.view(kv_heads, heads // kv_heads, -1).amax(1).flatten()


def spread_to_heads(values: Tensor, heads: int, kv_heads: int) -> Tensor:
    """One value per feature of the heads from one per value feature, `[kv_heads · K]` → `[heads · K]`."""
    return values.view(kv_heads, 1, -1).expand(kv_heads, heads // kv_heads, -1).flatten()
