"""Which features deserve more steps, from streamed statistics."""

from __future__ import annotations

import pytest
import torch

from darkit_nb.convert.saliency import (
    energy_from_gram,
    feature_saliency,
    key_saliency,
    value_saliency,
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


@pytest.mark.parametrize("shared", [1, 3])
def test_key_and_value_scores_follow_their_definition_and_serve_a_group_of_queries(shared: int):
    torch.manual_seed(2)
    q, k = torch.randn(2, 2 * shared, 9, 4), torch.randn(2, 2, 9, 4)
    p, v = torch.rand(2, 2 * shared, 9, 9).softmax(-1), torch.randn(2, 2, 9, 4)
    keys, values = key_saliency(q, k), value_saliency(p, v)
    assert keys.shape == values.shape == (2, 4)
    for head in range(2):
        want_k, want_v = torch.zeros(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
        for b in range(2):
            kt = k[b, head].double().T
            for each in range(head * shared, (head + 1) * shared):
                qq, pp = q[b, each].double(), p[b, each].double()
                want_k += (kt * (qq.T @ qq @ kt)).mean(1) / 2
                want_v += (v[b, head].double() * (pp.T @ pp @ v[b, head].double())).mean(0) / 2
        torch.testing.assert_close(keys[head], want_k)
        torch.testing.assert_close(values[head], want_v)


def test_the_token_control_marks_whole_tokens():
    x = torch.randn(2, 10, 6)
    x[1, 4] *= 100
    mask = widest_tokens(x, 0.05)
    assert mask.shape == x.shape
    assert mask.any(-1).nonzero().tolist() == [[1, 4]]
    assert mask[1, 4].all()
    assert torch.equal(mask[..., 0], choose_salient(x.amax(-1) - x.amin(-1), 0.05))
