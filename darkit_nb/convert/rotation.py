"""Rotations of features that leave the function as it is, and the one whose first coordinates carry the most.

    y = x Wᵀ = (x R)(W R)ᵀ        for orthogonal R

hadamard: R = diag(signs) · H spreads every outlier over all features.
split:    C = E[x xᵀ] = U Λ Uᵀ, Λ falling; R = U · blockdiag(R_k, R_{n−k}) with Hadamard rotations R_k, R_{n−k}: the k
          strongest directions become the first k coordinates, mixed among themselves, and get the extra spike steps.

Source: Ashkboos et al. 2024 (QuaRot) for the folds; Saxena et al. 2025 (ResQ) for keeping a principal subspace at
higher precision. That the subspace spikes with more steps is ours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from darkit_nb.errors import DataError
from darkit_nb.functional.rotation import random_signs, rotation_matrix


def hadamard_rotation(width: int, seed: int) -> Tensor:
    """diag(signs) · H, float64 `[width, width]`."""
    return rotation_matrix([width], random_signs(width, seed))


def salient_count(width: int, fraction: float) -> int:
    """k of n features, at least one and not all."""
    return min(max(1, round(fraction * width)), width - 1)


def split_rotation(covariance: Tensor, salient: int, seed: int) -> Tensor:
    """U · blockdiag(R_k, R_{n−k}) of a covariance or Gram matrix, float64 `[n, n]`.

    Args:
        covariance: `[n, n]`, symmetric; E[x xᵀ], or D E[x xᵀ] D with D the norms of the weight columns behind x.
        salient: k, at least 1.
        seed: of the signs.

    Raises:
        DataError: values that are not finite.
    """
    width = covariance.shape[0]
    if not bool(torch.isfinite(covariance).all()):
        raise DataError(
            "The directions of a rotation cannot be found.",
            expected="a finite Gram matrix of the calibration text",
            received=f"{int((~torch.isfinite(covariance)).sum())} values not finite",
            cause="the float model gives NaN or infinity on this text",
        )
    symmetric = (covariance + covariance.T).double() / 2
    _, vectors = torch.linalg.eigh(symmetric)
    # A fixed sign for every direction: the same rotation whatever the solver's choice.
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    directions = (vectors * largest.sign()).flip(1)
    return directions @ rotation_matrix([salient, width - salient], random_signs(width, seed)).to(directions.device)


def per_head(rotations: Tensor, heads: int) -> Tensor:
    """Rotations of value heads for the query heads that share them, `[kv, K, K]` → `[heads, K, K]`."""
    return rotations.repeat_interleave(heads // rotations.shape[0], 0)


def rotate_outputs(weight: Tensor, bias: Tensor | None, rotation: Tensor) -> tuple[Tensor, Tensor | None]:
    """A layer whose outputs come out rotated: y R. `weight` `[O, D]`, `bias` `[O]`, `rotation` `[n, n]` or `[H, n, n]`.

    One matrix rotates all outputs; several rotate one block of neighbouring outputs each.
    """
    blocks = rotation if rotation.dim() == 3 else rotation.unsqueeze(0)
    grouped = weight.to(blocks.dtype).unflatten(0, (blocks.shape[0], -1))
    turned = (blocks.transpose(1, 2) @ grouped).flatten(0, 1).to(weight.dtype)
    if bias is None:
        return turned, None
    shifted = bias.to(blocks.dtype).view(blocks.shape[0], 1, -1) @ blocks
    return turned, shifted.flatten().to(bias.dtype)


def rotate_inputs(weight: Tensor, rotation: Tensor) -> Tensor:
    """A layer that reads rotated inputs x R: W R. `rotation` `[D, D]`, or `[H, K, K]` for heads side by side."""
    blocks = rotation if rotation.dim() == 3 else rotation.unsqueeze(0)
    grouped = weight.to(blocks.dtype).unflatten(1, (blocks.shape[0], -1)).transpose(0, 1)
    return (grouped @ blocks).transpose(0, 1).flatten(1).to(weight.dtype)
