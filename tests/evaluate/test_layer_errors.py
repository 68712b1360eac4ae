"""Layer errors: zero where nothing is lost, blind to rotations, larger for coarser spikes."""

from __future__ import annotations

import copy

import pytest
import torch

from darkit_nb.errors import ModelError
from darkit_nb.evaluate.layer_errors import layer_errors
from darkit_nb.records.spike_spec import SpikeSpec
from darkit_nb.spikify import spikify
from tests.evaluate.models import decoder


def ids() -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randint(0, 50, (2, 12)), torch.randint(0, 50, (1, 7))]


def test_finer_spikes_err_less_and_errors_are_those_of_a_calculation_by_hand():
    floating = decoder()
    found = {}
    for levels in (4, 16, 256):
        spec = SpikeSpec(num_levels=levels, num_steps=1, salient_fraction=0.0, weight_bits=16)
        model = spikify(copy.deepcopy(floating), spec)
        found[levels] = layer_errors(model, floating, ids())
        assert found[levels].tokens == 31
    firsts = [found[levels].layers[0].error for levels in (4, 16, 256)]
    assert firsts[0] > 8 * firsts[1] > 64 * firsts[2] > 0
    assert found[256].blocks[-1].error < 0.05 < found[4].blocks[-1].error
    layer = model.model.layers[0].self_attn.q_proj
    inputs: list[torch.Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    top = bottom = 0.0
    for batch in ids():
        model(input_ids=batch)
        with torch.no_grad():
            exact = inputs[-1].double() @ layer.weight.double().T
            top += float((layer(inputs[-1]).double() - exact).square().sum())
            bottom += float(exact.square().sum())
    handle.remove()
    assert found[256].layers[0].error == pytest.approx(top / bottom, rel=1e-6)


def test_a_rotated_model_that_computes_the_same_has_no_stream_error():
    from benchmarks.planting import planted

    floating = decoder()
    found = layer_errors(planted(floating, "pca", ids()[0]), floating, ids())
    assert max(block.error for block in found.blocks) < 1e-5
    assert found.layers == ()
    assert found.to_dict()["tokens"] == 31


def test_models_of_other_depths_are_refused():
    with pytest.raises(ModelError, match="block by block"):
        layer_errors(decoder(), decoder(num_hidden_layers=3), ids())
