"""Planted outliers: the model computes the same, and its channels are as peaked as is claimed."""

from __future__ import annotations

import pytest
import torch

from benchmarks.planting import PLANTINGS, outlier_statistics, planted
from tests.evaluate.models import decoder


def llama(**changes: object) -> torch.nn.Module:
    torch.manual_seed(0)
    model = decoder(hidden_size=64, intermediate_size=96, **changes).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 2.0)
    return model


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("how", PLANTINGS)
def test_what_the_model_computes_stays(how: str, tied: bool):
    model, ids = llama(tie_word_embeddings=tied), torch.randint(0, 50, (4, 24))
    with torch.no_grad():
        before = model(input_ids=ids).logits
        after = planted(model, how, ids)(input_ids=ids).logits
        again = model(input_ids=ids).logits
    assert torch.equal(before, again)
    if "pca" in how:
        assert float((after - before).abs().max()) < 3e-5
    else:
        assert torch.equal(after, before)


def test_channels_become_peaked_and_the_kurtosis_says_so():
    model, ids = llama(), torch.randint(0, 50, (4, 24))
    found = {how: outlier_statistics(planted(model, how, ids), ids)["kurtosis_mean"] for how in PLANTINGS}
    assert found["diag"] > 5 * found["none"]
    assert found["pca"] > found["none"]
    assert found["pca+diag"] > found["pca"]


def test_an_unknown_planting_is_refused():
    with pytest.raises(ValueError, match="no planting"):
        planted(llama(), "all", torch.zeros(1, 4, dtype=torch.long))
