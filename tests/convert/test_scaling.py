"""SmoothQuant's closed form, and what it does where there is nothing to scale."""

from __future__ import annotations

import torch

from darkit_nb.convert.scaling import LARGEST, shared_among_heads, smooth_scale, spread_to_heads


def test_the_closed_form():
    absmax = torch.tensor([4.0, 9.0])
    weights = [torch.tensor([[1.0, -2.0]]), torch.tensor([[-4.0, 1.0]])]
    scale = smooth_scale(absmax, weights, 0.5)
    torch.testing.assert_close(scale, torch.tensor([2.0 / 2.0, 3.0 / 2**0.5], dtype=torch.float64))
    # At 1 all of an outlier moves into the weights: activations become ±1.
    torch.testing.assert_close(smooth_scale(absmax, weights, 1.0), absmax.double())


def test_dead_features_and_columns_keep_their_scale():
    scale = smooth_scale(torch.tensor([0.0, 5.0, 1e30]), [torch.tensor([[1.0, 0.0, 1.0]])], 0.5)
    torch.testing.assert_close(scale, torch.tensor([1.0, 1.0, LARGEST], dtype=torch.float64))


def test_heads_that_share_a_value_head_share_a_scale():
    scale = torch.arange(1.0, 9.0)  # 4 heads of width 2 on 2 value heads
    shared = shared_among_heads(scale, 4, 2)
    assert shared.tolist() == [3, 4, 7, 8]
    assert spread_to_heads(shared, 4, 2).tolist() == [3, 4, 3, 4, 7, 8, 7, 8]
