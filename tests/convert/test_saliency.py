"""Which features deserve more steps, from streamed statistics."""

from __future__ import annotations

import torch

from darkit_nb.convert.saliency import (
    energy_from_gram,
    feature_saliency,
    widest_tokens,
)
from darkit_nb.functional.saliency import choose_salient, saliency_energy


def test_the_published_score_needs_the_gram_matrix_only():
    torch.manual_seed(0)
    x, w = torch.randn(3, 50, 16, dtype=torch.float64), torch.randn(7, 16, dtype=torch.float64)
    flat = x.flatten(0, 1)
    torch.testing.assert_close(energy_from_gram(flat.T @ flat / len(flat), w), saliency_energy(x, w))


def test_the_published_score_is_blind_to_diagonal_rescaling_and_the_error_is_not():
    torch.manual_seed(1)
    x, w = torch.randn(200, 12, dtype=torch.float64), torch.randn(5, 12, dtype=torch.float64)
    s = torch.rand(12, dtype=torch.float64) * 20 + 0.1

    def scores(how, x, w):
        return feature_saliency(how, gram=x.T @ x / len(x), low=x.amin(0), high=x.amax(0), weight=w)

    torch.testing.assert_close(scores("energy", x / s, w * s), scores("energy", x, w))
    # range² · ‖W‖² is invariant as well, feature by feature; what scaling changes is the largest magnitude
    torch.testing.assert_close(scores("error", x / s, w * s), scores("error", x, w))
    assert not torch.equal(scores("absmax", x / s, w * s).argsort(), scores("absmax", x, w).argsort())
    assert torch.equal(scores("random", x, w), scores("random", 2 * x, 3 * w))


def test_the_token_control_marks_whole_tokens():
    x = torch.randn(2, 10, 6)
    x[1, 4] *= 100
    mask = widest_tokens(x, 0.05)
    assert mask.shape == x.shape
    assert mask.any(-1).nonzero().tolist() == [[1, 4]]
    assert mask[1, 4].all()
    assert torch.equal(mask[..., 0], choose_salient(x.amax(-1) - x.amin(-1), 0.05))
