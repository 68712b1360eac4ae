"""The spikes of one module of a live model are those that the neuron sent, whatever the inputs are."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from darkit_nb.errors import ModelError, ShapeError
from darkit_nb.evaluate.raster import module_raster
from darkit_nb.spikify import spikify
from darkit_nb.trace import trace_model
from tests.evaluate.models import decoder
from tests.evaluate.test_spikes import hear

IDS = torch.arange(12).view(2, 6)
NAME = "model.layers.1.mlp.up_proj"


@pytest.fixture(scope="module")
def llama() -> Any:
    return spikify(decoder("llama", vocab_size=264))


def test_a_module_of_a_language_model(llama):
    before = {name: value.clone() for name, value in llama.state_dict().items()}
    random = torch.random.get_rng_state()
    seen = module_raster(llama, IDS, NAME)
    assert seen.names == (NAME,)
    assert seen.tokens == tuple(map(str, range(12)))
    ((code,),) = [heard for name, heard in hear(llama, IDS).items() if name == NAME]
    assert np.array_equal(seen.layers[0].counts, code.counts.reshape(12, -1).numpy())
    assert seen.layers[0].firing_rate == trace_model(llama, IDS).firing_rate(trace_model(llama, IDS).index[NAME])
    assert all(torch.equal(value, before[name]) for name, value in llama.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), random)


def test_all_modules_in_a_block(llama):
    names = module_raster(llama, IDS, "model.layers.1").names
    assert names
    assert all(name.startswith("model.layers.1.") for name in names)
    assert len(module_raster(llama, IDS).names) == 2 * len(names)


def test_no_more_tokens_than_can_be_looked_at(llama):
    seen = module_raster(llama, IDS, NAME, max_tokens=5)
    assert (len(seen.tokens), seen.layers[0].counts.shape[0], seen.layers[0].scale.shape[0]) == (5, 5, 5)


def test_a_module_that_reads_no_tokens():
    model = spikify(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), attention=False)
    seen = module_raster(model, torch.randn(3, 8), "2")
    assert (seen.tokens, seen.layers[0].counts.shape) == (("0", "1", "2"), (3, 16))


def test_what_cannot_be_drawn_says_why(llama):
    with pytest.raises(ModelError, match="no such module") as caught:
        module_raster(llama, IDS, "model.layers.1.mlp.up_prj")
    assert NAME in str(caught.value)
    with pytest.raises(ModelError, match="No raster can be drawn"):
        module_raster(llama, IDS, "model.norm")
    with pytest.raises(ModelError, match="forward failed"):
        module_raster(llama, torch.tensor([[10**6]]), NAME)
    with pytest.raises(ModelError, match="meta device"):
        module_raster(copy.deepcopy(llama).to("meta"), IDS, NAME)
    with pytest.raises(ShapeError):
        module_raster(llama, "a text", NAME)
    parts = nn.ModuleDict({"used": nn.Linear(4, 4), "idle": nn.Linear(4, 4)})
    parts.forward = lambda x: parts["used"](x)
    with pytest.raises(ModelError, match="did not run"):
        module_raster(spikify(parts, attention=False), torch.randn(2, 4), "idle")
