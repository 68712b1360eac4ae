"""Saliency scores and choices."""

from __future__ import annotations

import pytest
import torch

from darkit_nb.functional.saliency import choose_salient, saliency_energy, saliency_score


def test_the_published_energy_sums_to_the_energy_of_the_output():
    torch.manual_seed(0)
    x, w = torch.randn(4, 10, 12), torch.randn(7, 12)
    total = saliency_energy(x, w).sum()
    torch.testing.assert_close(total, (x @ w.T).square().sum(-1).mean())


def test_an_outlier_feature_is_salient_by_error_and_absmax_but_energy_is_blind_to_rescaling():
    torch.manual_seed(1)
    x, w = torch.randn(100, 16), torch.randn(8, 16)
    scaled_x, scaled_w = x.clone(), w.clone()
    scaled_x[:, 3] *= 50
    scaled_w[:, 3] /= 50
    torch.testing.assert_close(saliency_energy(x, w), saliency_energy(scaled_x, scaled_w), rtol=1e-4, atol=1e-4)
    extremes = torch.stack([scaled_x.amin(0), scaled_x.amax(0)])
    assert saliency_score(extremes, scaled_w, "absmax").argmax() == 3
    scaled_w[:, 3] *= 50
    assert saliency_score(extremes, scaled_w, "error").argmax() == 3


def test_scores_follow_their_formulas():
    extremes = torch.tensor([[-1.0, -4.0, 0.0], [2.0, 1.0, 3.0]])
    w = torch.tensor([[1.0, 0.5, 2.0], [0.0, 0.5, 0.0]])
    torch.testing.assert_close(saliency_score(extremes, None, "absmax"), torch.tensor([2.0, 4.0, 3.0]))
    torch.testing.assert_close(saliency_score(extremes, w, "error"), torch.tensor([9.0, 12.5, 36.0]))
    torch.testing.assert_close(saliency_score(extremes, None, "error"), torch.tensor([9.0, 25.0, 9.0]))
    assert torch.equal(saliency_score(extremes, w, "energy"), extremes[0])


def test_the_random_control_is_the_same_everywhere_and_leaves_the_global_state_alone():
    state = torch.get_rng_state()
    first = saliency_score(torch.zeros(2, 100), None, "random")
    assert torch.equal(first, saliency_score(torch.ones(2, 100), None, "random"))
    assert torch.equal(state, torch.get_rng_state())
    assert first.unique().numel() == 100


@pytest.mark.parametrize(("fraction", "count"), [(0.0, 0), (0.001, 1), (0.1, 6), (0.5, 32), (1.0, 63)])
def test_the_share_is_respected(fraction: float, count: int):
    mask = choose_salient(torch.arange(63.0), fraction)
    assert mask.sum() == count
    assert not count or mask[-1]


def test_ties_go_to_the_lower_index_and_shape_is_kept():
    mask = choose_salient(torch.ones(2, 1, 5), 0.3)
    assert mask.shape == (2, 1, 5)
    assert mask.flatten().nonzero().flatten().tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("features", "fraction", "expected"), [(64, 0.1, 7), (64, 0.05, 4), (71, 0.1, 7), (3, 0.01, 1)]
)
def test_above_the_quantile_as_many_are_chosen_as_in_the_published_code(features: int, fraction: float, expected: int):
    score = torch.arange(float(features))
    mask = choose_salient(score, fraction, above_quantile=True)
    assert int(mask.sum()) == expected
    quantile = torch.quantile(score.double(), 1 - fraction)
    assert torch.equal(mask, score > quantile + 1e-6)
    assert not choose_salient(score, 0.0, above_quantile=True).any()
