"""Every step that keeps the function keeps it, in every family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from darkit_nb.config.conversions import preset
from darkit_nb.convert import folding
from darkit_nb.convert.prepare import prepare_block, residual_rotation, residual_statistics, rotates
from darkit_nb.convert.skeleton import Skeleton
from darkit_nb.convert.source import open_source
from darkit_nb.records.conversion import ConversionSpec
from tests.convert.decoders import CONFIGS, decoder

SPECS = {
    "smooth": preset("smoothquant"),
    "hadamard": preset("quarot"),
    "split": preset("darkit"),
    "split weighted, keys rotated": preset("darkit", rotation_weighted=True, spike={"attention": True}),
}


def prepared_logits(model: PreTrainedModel, ids: Tensor, spec: ConversionSpec) -> Tensor:
    """Logits of the float model after every fold, put together from its parts."""
    dtype = next(model.parameters()).dtype
    source = open_source(model)
    skeleton = Skeleton(source, dtype=dtype)
    family = skeleton.family
    skeleton.fill_front()
    rotation = None
    if rotates(spec):
        stream = skeleton.enter(ids)
        covariance = residual_statistics(skeleton, spec, stream) if spec.rotation == "split" else None
        rotation = residual_rotation(spec, skeleton.widths.hidden, covariance)
        tables = {f"{name}.weight": source.tensor(f"{name}.weight") for name in family.embeddings}
        skeleton.fill_front({name: folding.folded_table(t, family, rotation) for name, t in tables.items()})
    stream = skeleton.enter(ids)
    for index in range(skeleton.blocks):
        prepared = prepare_block(skeleton, index, stream, spec, rotation)
        stream = skeleton.run(prepared.block, index, stream)
        for again, first in zip(stream, prepared.outputs, strict=True):
            torch.testing.assert_close(again, first, atol=1e-3, rtol=1e-3)
    norm: Any = skeleton.model.get_submodule(family.final_norm)
    head = source.tensor("lm_head.weight")
    if rotation is None:
        return torch.cat([norm(hidden) @ head.T for hidden in stream])
    weight, bias = folding.folded_head(head, norm.weight, getattr(norm, "bias", None), rotation)
    eps = getattr(norm, "variance_epsilon", getattr(norm, "eps", None))
    plain = torch.nn.RMSNorm(skeleton.widths.hidden, eps=eps, dtype=dtype)
    return torch.cat([torch.nn.functional.linear(plain(hidden), weight, bias) for hidden in stream]).detach()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *((kind, name) for kind in CONFIGS for name in ("smooth", "split")),
        *((kind, name) for kind in ("llama", "gpt2") for name in ("hadamard", "split weighted, keys rotated")),
    ],
)
def test_logits_stay_the_same_in_float64(kind, name):
    model = decoder(kind)
    ids = torch.randint(2, 97, (3, 20), generator=torch.Generator().manual_seed(1))
    expected = model(input_ids=ids).logits.detach()
    assert expected.std() > 0.1
    found = prepared_logits(model, ids, SPECS[name])
    # The RMSNorm of transformers computes in float32 whatever it is given; LayerNorm does not.
    limit = 1e-11 if kind in ("gpt2", "opt") else 2e-6
    assert (found - expected).norm() <= limit * expected.norm()


@pytest.mark.parametrize("kind", ["llama", "opt"])
def test_logits_stay_the_same_in_float32(kind):
    model = decoder(kind, dtype=torch.float32)
    ids = torch.randint(2, 97, (3, 20), generator=torch.Generator().manual_seed(1))
    expected = model(input_ids=ids).logits.detach()
    found = prepared_logits(model, ids, SPECS["split"])
    assert (found - expected).norm() <= 1e-4 * expected.norm()
