"""Which features get more spike steps, from streamed statistics; and the controls such a choice must beat.

    energy   (WᵀW C)_cc, C = E[x xᵀ]           the published score, mean over tokens of x ∘ (x Wᵀ W)
    error    (high_c − low_c)² · ‖W_c‖²         squared output error of one step of the feature, up to a constant
    absmax   max |x_c|
    random   a fixed pseudo-random order

`energy` is the same for x/s and W·s, whatever the diagonal s: it does not see how large a feature is, only what it
contributes. The other way to spend the same steps is on tokens: `widest_tokens`.

Source: Xing et al. 2025 (SpikeLLM, arXiv 2407.04752), its saliency metric.
"""

from __future__ import annotations

import torch
from torch import Tensor

from darkit_nb.functional.saliency import choose_salient, saliency_score
from darkit_nb.records.spike_spec import Saliency


def energy_from_gram(gram: Tensor, weight: Tensor) -> Tensor:
    """The published score without tokens: diag(WᵀW C) `[D]`, C `[D, D]` the mean of x xᵀ, W `[O, D]`."""
    w = weight.to(gram.dtype)
    return ((w.T @ w) * gram).sum(0)


def feature_saliency(how: Saliency, *, gram: Tensor, low: Tensor, high: Tensor, weight: Tensor) -> Tensor:
    """Score of every feature, `[D]`, larger is more salient.

    Args:
        how: the rule above.
        gram: `[D, D]`, mean of x xᵀ over tokens.
        low: `[D]`, smallest value of the feature over all tokens.
        high: `[D]`, largest.
        weight: `[O, D]`; of several layers behind the same input, stacked along O.
    """
    if how == "energy":
        return energy_from_gram(gram, weight)
    return saliency_score(torch.stack([low, high]).to(weight.dtype), weight, how)


def widest_tokens(x: Tensor, fraction: float) -> Tensor:
    """The control that spends steps on tokens: bool `[*B, L, D]`, all features of the `fraction` that range widest."""
    width = x.amax(-1) - x.amin(-1)
    return choose_salient(width, fraction).unsqueeze(-1).expand(x.shape)
