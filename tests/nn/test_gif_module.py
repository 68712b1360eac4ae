"""The GIF module: watching features, choosing them, stating them, and leaving them alone in evaluation."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from darkit_nb.functional.gif import gif_encode, gif_quantise
from darkit_nb.nn.gif import EXTREME_DECAY, GIF, SAMPLE_STRIDE
from darkit_nb.nn.linear import SpikeLinear
from darkit_nb.ops.backend import resolve_backend
from darkit_nb.records.spike_spec import SpikeSpec


def outlier(features: int, where: int, tokens: int = 64) -> torch.Tensor:
    x = torch.randn(1, tokens, features)
    x[..., where] *= 30
    return x


def test_first_training_forward_finds_the_outlier_and_evaluation_keeps_it():
    torch.manual_seed(0)
    neuron = GIF((32,), SpikeSpec(salient_fraction=1 / 32))
    neuron(outlier(32, 5))
    assert neuron.salient.nonzero().flatten().tolist() == [5]
    neuron.eval()
    neuron(outlier(32, 9))
    assert neuron.salient.nonzero().flatten().tolist() == [5]
    assert int(neuron.forwards) == 1


def test_features_are_chosen_again_at_the_stated_interval_only():
    torch.manual_seed(0)
    neuron = GIF((16,), SpikeSpec(salient_fraction=1 / 16, reselect_every=4, saliency="absmax"))
    chosen = []
    for step in range(8):
        neuron(outlier(16, 3) if step == 0 else 40 * outlier(16, 11))
        chosen.append(int(neuron.salient.nonzero()))
    assert chosen == [3, 3, 3, 11, 11, 11, 11, 11]


def test_zero_interval_keeps_the_first_choice():
    torch.manual_seed(0)
    neuron = GIF((16,), SpikeSpec(salient_fraction=1 / 16, reselect_every=0))
    neuron(outlier(16, 3))
    for _ in range(5):
        neuron(100 * outlier(16, 8))
    assert int(neuron.salient.nonzero()) == 3


def test_running_extremes_follow_their_rule():
    neuron = GIF((4,), SpikeSpec(saliency="absmax", reselect_every=1))
    first, second = torch.randn(2, 24, 4), torch.randn(2, 24, 4)
    neuron(first)
    neuron(second)
    seen = [x[:, ::SAMPLE_STRIDE].flatten(0, 1) for x in (first, second)]
    low = torch.minimum(EXTREME_DECAY * seen[0].amin(0), seen[1].amin(0))
    high = torch.maximum(EXTREME_DECAY * seen[0].amax(0), seen[1].amax(0))
    torch.testing.assert_close(neuron.statistic, torch.stack([low, high]))


def test_recomputed_forwards_of_gradient_checkpointing_are_not_counted():
    layer = SpikeLinear(torch.nn.Linear(16, 8), SpikeSpec())
    x = torch.randn(2, 8, 16, requires_grad=True)
    checkpoint(layer, x, use_reentrant=False).sum().backward()
    assert int(layer.forwards) == 1


def test_state_returns_with_the_state_dict_and_counting_goes_on():
    torch.manual_seed(0)
    spec = SpikeSpec(reselect_every=3)
    one = GIF((16,), spec)
    for _ in range(2):
        one(torch.randn(1, 16, 16))
    two = GIF((16,), spec)
    two.load_state_dict(one.state_dict())
    x = 9 * outlier(16, 2)
    one(x)
    two(x)
    assert int(two.forwards) == 3
    assert torch.equal(one.salient, two.salient)
    assert torch.equal(one.statistic, two.statistic)


def test_forward_is_the_reference_and_the_listener_sees_the_same_spikes():
    torch.manual_seed(0)
    neuron = GIF((24,), SpikeSpec()).eval()
    neuron.choose_without_data()
    heard = []
    neuron.spike_listener = lambda module, code: heard.append((module, code))
    x = torch.randn(2, 5, 24)
    y = neuron(x)
    want = {"num_levels": 16, "num_steps": 2, "salient": neuron.salient}
    assert torch.equal(y, gif_quantise(x, **want))
    assert heard[0][0] is neuron
    assert torch.equal(heard[0][1].counts, gif_encode(x, **want).counts)


def test_per_head_masks_let_heads_compete():
    torch.manual_seed(0)
    neuron = GIF((2, 1, 8), SpikeSpec(salient_fraction=2 / 16, saliency="absmax"))
    x = torch.randn(3, 2, 40, 8)
    x[:, 1, :, 4:6] *= 20
    y = neuron(x)
    assert neuron.salient.nonzero().tolist() == [[1, 0, 4], [1, 0, 5]]
    assert y.shape == x.shape
    # Causal: a token's value depends on that token alone.
    shorter = neuron.eval()(x[:, :, :7])
    assert torch.equal(shorter, neuron(x)[:, :, :7])


def test_no_mask_where_no_feature_can_have_more_steps():
    assert GIF((8,), SpikeSpec(num_steps=1)).mask is None
    assert GIF((8,), SpikeSpec(salient_fraction=0.0)).mask is None
    assert GIF((8,), SpikeSpec()).mask is not None


def test_all_features_at_all_steps_is_a_finer_quantiser():
    torch.manual_seed(0)
    x = torch.randn(4, 32)
    fine = GIF((32,), SpikeSpec(num_levels=2, num_steps=4, salient_fraction=1.0))
    values = fine(x)
    assert bool(fine.salient.all())
    assert max(row.unique().numel() for row in values) == 5


@pytest.mark.parametrize("kind", ["deepcopy", "pickle"])
def test_a_spiking_layer_can_be_copied(kind: str, tmp_path):
    layer = SpikeLinear(torch.nn.Linear(16, 8), SpikeSpec()).eval()
    x = torch.randn(2, 16)
    if kind == "deepcopy":
        clone = copy.deepcopy(layer)
    else:
        torch.save(layer, tmp_path / "layer.pt")
        clone = torch.load(tmp_path / "layer.pt", weights_only=False)
    assert torch.equal(clone(x), layer(x))
    assert clone.weight is not layer.weight


def test_the_representation_says_what_spikes():
    text = repr(SpikeLinear(torch.nn.Linear(16, 8), SpikeSpec()))
    assert "in_features=16, out_features=8, bias=True, 4-bit weights, Q=16, S=2 on 10%, rate, shared range" in text
    assert f"backend={resolve_backend().name}" in text


def test_a_range_of_their_own_sets_salient_features_apart_also_without_more_steps():
    x = torch.cat([torch.full((2, 1), 100.0), torch.linspace(-1, 1, 30).view(2, 15)], dim=-1)
    errors = {}
    for ranges in ("shared", "own"):
        neuron = GIF((16,), SpikeSpec(num_steps=1, salient_fraction=1 / 16, ranges=ranges)).eval()
        neuron.salient.zero_()
        neuron.salient[0] = True
        assert (neuron.mask is None) == (ranges == "shared")
        errors[ranges] = float((neuron(x) - x).abs()[:, 1:].max())
    assert errors["own"] < 0.1 < 0.5 < errors["shared"]
