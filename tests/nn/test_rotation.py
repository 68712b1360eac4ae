"""The rotation as a module keeps its signs and needs no matrix."""

from __future__ import annotations

import torch

from darkit_nb.functional.rotation import narrow_range
from darkit_nb.nn.rotation import OnlineRotation, RangeCut


def test_it_equals_its_matrix_and_holds_signs_only():
    rotation = OnlineRotation([16, 24], seed=5)
    x = torch.randn(2, 7, 40)
    torch.testing.assert_close(rotation(x).double(), x.double() @ rotation.matrix(), atol=1e-5, rtol=1e-5)
    assert {name: tensor.dtype for name, tensor in rotation.state_dict().items()} == {"signs": torch.int8}


def test_loading_brings_the_signs():
    saved, fresh = OnlineRotation([12], seed=1), OnlineRotation([12])
    fresh.load_state_dict(saved.state_dict())
    x = torch.randn(3, 12)
    assert torch.equal(saved(x), fresh(x))
    assert "blocks=(12,)" in repr(fresh)


def test_the_range_of_the_last_block_can_be_cut_and_no_other():
    whole, cut = OnlineRotation([8, 24], seed=2), OnlineRotation([8, 24], seed=2, keep=0.5)
    x = torch.randn(5, 7, 32, generator=torch.Generator().manual_seed(0))
    expected = whole(x)
    low, high = expected[..., 8:].amin(-1, keepdim=True), expected[..., 8:].amax(-1, keepdim=True)
    expected[..., 8:] = expected[..., 8:].clamp(low / 2, high / 2)
    assert torch.equal(cut(x), expected)
    assert not torch.equal(cut(x), whole(x))
    assert torch.equal(cut.matrix(), whole.matrix())
    assert "keep=0.5" in repr(cut)
    alone = OnlineRotation([32], seed=2, keep=0.5)
    assert alone(x).amax(-1).max() < OnlineRotation([32], seed=2)(x).amax(-1).max()


@torch.no_grad()
def test_signs_that_change_are_seen() -> None:
    rotation, x = OnlineRotation((32, 31), seed=3), torch.randn(5, 63)
    before = rotation(x)
    rotation.signs.neg_()
    assert torch.equal(rotation(x), -before)
    rotation.load_state_dict(OnlineRotation((32, 31), seed=3).state_dict())
    assert torch.equal(rotation(x), before)
    rotation.signs = -rotation.signs
    assert torch.equal(rotation(x), -before)


def test_a_cut_alone_leaves_the_features_before_it():
    cut = RangeCut(32, 8, keep=0.5)
    x = torch.randn(5, 7, 32, generator=torch.Generator().manual_seed(0))
    expected = torch.cat([x[..., :8], narrow_range(x[..., 8:], 0.5)], -1)
    assert torch.equal(cut(x), expected)
    assert torch.equal(cut.cut(x, 1.0), x)
    assert torch.equal(RangeCut(32, keep=0.5)(x), narrow_range(x, 0.5))
    assert not cut.state_dict()
    assert "begin=8, keep=0.5" in repr(cut)
