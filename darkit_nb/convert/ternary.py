"""Weights that are spikes: sums of ternary planes, more of them for the features that matter.

For a feature of T_j steps, with θ of its output (and of salient or other features),

    rate         code ∈ −T_j … T_j                      w ≈ θ Σ_t s_t,       s_t = sign(code) · 1[|code| ≥ t]
    trit-planes  code ∈ −(3^T_j − 1)/2 … (3^T_j − 1)/2   w ≈ θ Σ_t 3^t s_t,   s_t the balanced ternary digits

so a product with it is T_j additions. Salient are the input features with the largest Σ_o w_oj² / [H⁻¹]_jj: what their
removal would cost after all other features have compensated. θ minimises the H-weighted error on a grid of scales; then
the codes are taken by GPTQ's sweep, with ranges that differ by feature.

Source: Xing et al. 2025 (SpikeLLM), the additive pipeline, from its statements (unreleased code); trit-planes: PTQTP
(arXiv 2509.16989). The score is that of OBS (Hassibi and Stork 1993).
"""

from __future__ import annotations

import torch
from torch import Tensor

from darkit_nb.convert.clip import search_signed
from darkit_nb.convert.gptq import gptq_codes
from darkit_nb.convert.hessian import Hessian
from darkit_nb.functional.saliency import choose_salient
from darkit_nb.functional.weight import QuantisedWeight


def step_cap(steps: int, planes: bool) -> int:
    """Largest code of `steps` ternary spikes: T, or (3^T − 1)/2 for trit-planes."""
    return (3**steps - 1) // 2 if planes else steps


def code_bits(cap: int) -> int:
    """Whole bits that hold the codes −cap … cap."""
    return (2 * cap).bit_length()


def weight_saliency(weight: Tensor, hessian: Hessian) -> Tensor:
    """Mean over outputs of w_oj² / [H⁻¹]_jj, `[D]`."""
    return weight.to(hessian.gram.dtype).square().mean(0) / hessian.inverse_diagonal


@torch.no_grad()
def spike_weight(
    weight: Tensor,
    hessian: Hessian,
    *,
    steps: int,
    fraction: float,
    planes: bool = False,
    salient: Tensor | None = None,
) -> QuantisedWeight:
    """Ternary weights with `steps` spikes for the salient `fraction` of features and one for the others.

    Args:
        weight: `[O, D]` float.
        hessian: of the layer's input.
        steps: T_s ≥ 1 of the salient features.
        fraction: share p of salient features; the mean is 1 + p(T_s − 1) steps.
        planes: trit-planes in place of rate codes.
        salient: bool `[D]`, a choice made elsewhere (a control); None chooses by `weight_saliency`.

    Returns:
        One part for the features of one step and one for the salient ones, each with a scale per output.
    """
    if salient is None:
        salient = choose_salient(weight_saliency(weight, hessian), fraction if steps > 1 else 0.0)
    group = salient.to(torch.int64)
    caps = torch.tensor([step_cap(1, planes), step_cap(steps, planes)], device=weight.device)
    grid = search_signed(weight, caps, group, hessian.diagonal.to(weight.dtype))
    codes = gptq_codes(weight, hessian, grid)
    parts = [
        (columns, grid.code(codes, code_bits(int(cap)), columns))
        for cap, columns in zip(caps, (torch.nonzero(~salient)[:, 0], torch.nonzero(salient)[:, 0]), strict=True)
        if columns.numel()
    ]
    return QuantisedWeight(tuple(parts), (weight.shape[0], weight.shape[1]))
