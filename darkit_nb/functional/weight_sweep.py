"""Codes of weights set feature by feature, where each code moves what the features behind it still have to make.

Features come first here, `[D, O]`: what one feature does to all outputs is one stretch of memory. Both functions work
on a block of K neighbouring features; what the block does to the features behind it is one product of the caller.

compensate   q_j = clamp(round(w_j / s_j), low_j, high_j),   e_j = (w_j − q_j s_j) / U_jj,   w_k ← w_k − U_jk e_j, k > j
             Σ_j e_j² over all features is the squared error (w − q∘s) H (w − q∘s)ᵀ of the whole sweep, H⁻¹ = Uᵀ U,
             for w − q∘s = e U.
descend      r_j = clamp(round(q_j + p_j / (s_j H_jj)), low_j, high_j),   m_j = (r_j − q_j) s_j,   p_k ← p_k − H_jk m_j
             with p = H (w − q∘s): every code becomes its best one, given all others.

Source: Frantar et al. 2023 (GPTQ, arXiv 2210.17323); coordinate descent as in Behdin et al. 2023 (arXiv 2309.01885).
"""

from __future__ import annotations

import torch
from torch import Tensor


def compensate(
    left: Tensor, upper: Tensor, scale: Tensor, low: Tensor, high: Tensor, group: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Code a block of features, the first one first.

    Args:
        left: `[K, O]` float, the weights as the features before have left them; used up.
        upper: `[K, K]`, the block's part of U.
        scale: `[G, O]`, > 0.
        low: `[G, O]` whole numbers, smallest code.
        high: `[G, O]` likewise, largest code.
        group: int64 `[K]`, the group of every feature.

    Returns:
        Codes int16 `[K, O]`, errors e `[K, O]`, and Σ e² `[O]`.
    """
    codes, missed = torch.empty_like(left, dtype=torch.int16), torch.empty_like(left)
    cost = torch.zeros_like(left[0])
    for j, part in enumerate(group.tolist()):
        code = torch.round(left[j] / scale[part]).clamp(low[part], high[part])
        codes[j] = code.to(torch.int16)
        missed[j] = (left[j] - code * scale[part]) / upper[j, j]
        left[j + 1 :] -= upper[j, j + 1 :].unsqueeze(1) * missed[j]
        cost += missed[j] * missed[j]
    return codes, missed, cost


def descend(
    pull: Tensor, codes: Tensor, matrix: Tensor, scale: Tensor, low: Tensor, high: Tensor, group: Tensor
) -> tuple[Tensor, Tensor]:
    """Set the codes of a block once more, the first feature first.

    Args:
        pull: p `[K, O]` float, as the features before have left it; used up.
        codes: int16 `[K, O]`, as they are.
        matrix: `[K, K]`, the block's part of H.
        scale: `[G, O]`, > 0.
        low: `[G, O]` whole numbers, smallest code.
        high: `[G, O]` likewise, largest code.
        group: int64 `[K]`, the group of every feature.

    Returns:
        Codes int16 `[K, O]`, and by how much each weight moved, m `[K, O]`.
    """
    found, moved = torch.empty_like(codes), torch.empty_like(pull)
    for j, part in enumerate(group.tolist()):
        before = codes[j].to(pull.dtype)
        best = torch.round(before + pull[j] / (scale[part] * matrix[j, j])).clamp(low[part], high[part])
        found[j] = best.to(torch.int16)
        moved[j] = (best - before) * scale[part]
        pull[j + 1 :] -= matrix[j, j + 1 :].unsqueeze(1) * moved[j]
    return found, moved
