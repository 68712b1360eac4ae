"""PB-LLM, the baseline of additive weights: one bit a weight, and 8 bits for the share that matters most.

    salient        w ≈ s · q,      q ∈ −127 … 127
    all others     w ≈ ±α,         α = m · s, m a whole number

Salient are single weights, not features: those with the largest w_oj² / [H⁻¹]_jj. s reaches the largest salient weight
of the output, α is the H-weighted mean of |w| over the others (the least-squares scale of a sign), rounded to a
multiple of s, so that one integer code with one scale holds both kinds. The sweep is GPTQ's.

Stored, such a weight takes 8 bits a code here. In a layout of its own the method needs (1 − f) + 8f and a bit that says
which of both it is.

Source: Shang et al. 2024 (PB-LLM, arXiv 2310.00034), section 3; Frantar et al. 2023 for the sweep.
"""

from __future__ import annotations

import torch
from torch import Tensor

from darkit_nb.convert.gptq import check_features, outputs_first, sweep_blocks
from darkit_nb.convert.hessian import Hessian
from darkit_nb.functional.gif import SCALE_FLOOR
from darkit_nb.functional.weight import QuantisedWeight, WeightCode

LARGEST = 127


def salient_weights(weight: Tensor, inverse_diagonal: Tensor, fraction: float) -> Tensor:
    """The `fraction` of weights with the largest w²/[H⁻¹]_jj, bool `[O, D]`."""
    score = weight.square() / inverse_diagonal.to(weight.dtype)
    mask = torch.zeros_like(score, dtype=torch.bool)
    count = round(fraction * score.numel())
    mask.view(-1)[torch.sort(score.flatten(), descending=True, stable=True).indices[:count]] = True
    return mask


def _scales(weight: Tensor, salient: Tensor, importance: Tensor) -> tuple[Tensor, Tensor]:
    """s `[O, 1]` and m `[O, 1]` (1 … 127, whole) of every output."""
    share = importance.expand_as(weight).masked_fill(salient, 0.0)
    alpha = (weight.abs() * share).sum(1, keepdim=True) / share.sum(1, keepdim=True).clamp(min=SCALE_FLOOR)
    reach = weight.abs().masked_fill(~salient, 0.0).amax(1, keepdim=True)
    # An output without salient weights still needs a scale: its α alone.
    scale = (torch.maximum(reach, alpha) / LARGEST).clamp(min=SCALE_FLOOR)
    return scale, torch.round(alpha / scale).clamp(1, LARGEST)


@torch.no_grad()
def pb_weight(weight: Tensor, hessian: Hessian, *, fraction: float) -> QuantisedWeight:
    """Binary weights with a salient `fraction` in 8 bits.

    Args:
        weight: `[O, D]` float.
        hessian: of the layer's input.
        fraction: share of salient weights.

    Returns:
        One part of 8 bits, scale `[O, 1]`.
    """
    check_features(weight, hessian)
    order = hessian.order
    left, importance = weight[:, order], hessian.diagonal[order].to(weight.dtype)
    salient = salient_weights(left, hessian.inverse_diagonal[order], fraction)
    scale, level = _scales(left, salient, importance)
    upper = hessian.upper.to(weight.dtype)
    codes = outputs_first(_sweep(left.T.contiguous(), upper, salient.T.contiguous(), scale, level), hessian)
    zero = torch.full((weight.shape[0], 1), LARGEST, dtype=torch.int16, device=weight.device)
    code = WeightCode(codes, scale.float(), 8, None, zero)
    return QuantisedWeight(((None, code),), (weight.shape[0], weight.shape[1]))


def _sweep(left: Tensor, upper: Tensor, salient: Tensor, scale: Tensor, level: Tensor) -> Tensor:
    """Codes int16 `[D, O]` of weights `[D, O]`, which are used up."""
    scale, level = scale[:, 0], level[:, 0]

    def code(begin: int, end: int, block: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        codes, missed = torch.empty_like(block), torch.empty_like(block)
        for j, own in enumerate(upper[begin:end, begin:end].diagonal()):
            fine = torch.round(block[j] / scale).clamp(-LARGEST, LARGEST)
            coarse = torch.where(block[j] < 0, -level, level)
            codes[j] = torch.where(salient[begin + j], fine, coarse)
            missed[j] = (block[j] - codes[j] * scale) / own
            block[j + 1 :].addr_(upper[begin + j, begin + j + 1 : end], missed[j], alpha=-1)
        return codes.to(torch.int16), missed, missed.square().sum(0)

    return sweep_blocks(left, upper, code)[0]
