"""Controls of the table: plain INT8 on salient features is radix Q = 16, S = 2, and tokens get what they should."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.conversion import Combination, changed, combinations
from benchmarks.conversion_judges import judged, uniform
from darkit_nb.functional.weight import QuantisedWeight, weight_encode
from darkit_nb.nn.packed_linear import PackedSpikeLinear
from darkit_nb.records.conversion import ConversionSpec
from darkit_nb.records.spike_spec import SpikeSpec


def packed(**spec: object) -> nn.Sequential:
    torch.manual_seed(0)
    weight = torch.randn(24, 40)
    salient = torch.zeros(40, dtype=torch.bool)
    salient[[1, 5, 17, 30]] = True
    made = SpikeSpec(num_levels=16, salient_fraction=0.1, ranges="own", **spec)
    code = QuantisedWeight(((None, weight_encode(weight, 4)),), (24, 40))
    return nn.Sequential(PackedSpikeLinear.from_weight(code, torch.randn(24), made, salient))


def test_radix_with_sixteen_levels_and_two_steps_is_plain_int8():
    model, x = packed(num_steps=2, coding="radix"), 3 * torch.randn(2, 9, 40)
    assert torch.allclose(judged(model, "int8")(x), model(x), rtol=1e-5, atol=1e-4)
    other = packed(num_steps=2, coding="rate")
    assert not torch.allclose(judged(other, "int8")(x), other(x), rtol=1e-3, atol=1e-2)
    assert judged(model, "spikes") is model


def test_the_widest_tenth_of_tokens_is_rounded_finer():
    model, x = packed(num_steps=1), torch.randn(1, 20, 40)
    x[0, [3, 8]] *= 30
    layer = judged(model, "tokens")[0]
    rounded = layer._by_token(x)
    for token in range(20):
        assert torch.equal(rounded[0, token], uniform(x[0, token], 30 if token in (3, 8) else 15))


def test_combinations_are_each_named_once_and_seeds_of_rotations_only_where_one_rotates():
    found = list(combinations("m"))
    assert len({one.key for one in found}) == len(found)
    assert all(one.method.rotates or one.rotation_seed == 0 for one in found)
    assert isinstance(found[0], Combination)
    assert (found[0].method.name, found[0].planting, found[0].seed) == ("rtn W4A4", "none", 0)


@pytest.mark.parametrize("changes", [{"weights": "gptq"}, {"rotation": "hadamard"}, {"group_size": 64}])
def test_the_digest_of_settings_knows_what_was_changed(changes: dict[str, object]):
    assert changed(ConversionSpec(**changes)) != changed(ConversionSpec())
    assert changed(ConversionSpec(**changes, pipeline="x")) == changed(ConversionSpec(**changes))
