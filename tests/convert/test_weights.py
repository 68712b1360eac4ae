"""One door to every way of coding a weight."""

from __future__ import annotations

import pytest
import torch

from darkit_nb.convert.hessian import Hessian
from darkit_nb.convert.weights import quantise_weight
from darkit_nb.errors import ConfigError, DataError
from darkit_nb.functional.packed import pack_codes, unpack_codes
from darkit_nb.functional.weight import weight_encode
from darkit_nb.records.conversion_spec import ConversionSpec

WAYS = [
    {"weights": "rtn"},
    {"weights": "rtn", "group_size": 8},
    {"weights": "rtn", "clip_search": True},
    {"weights": "gptq", "act_order": True},
    {"weights": "gptq", "clip_search": True, "group_size": 8},
    {"weights": "gptq", "weight_bits": 2},
    {"weights": "gptq", "clip_search": True, "scale_sweep": True, "code_passes": 2},
    {"weights": "ternary", "weight_steps": 2, "weight_salient_fraction": 0.4, "weight_bits": 2},
    {"weights": "trit_planes", "weight_steps": 3, "weight_salient_fraction": 0.2, "weight_bits": 2},
    {"weights": "pb_llm", "weight_salient_fraction": 0.1, "weight_bits": 2},
]


def layer() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 24, generator=generator) @ torch.randn(24, 24, generator=generator)
    return torch.randn(12, 24, generator=generator), x.T @ x / 500


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(map(str, way.values())))
def test_every_way_gives_codes_that_can_be_stored_and_read_back(way):
    weight, gram = layer()
    coded = quantise_weight(weight, ConversionSpec(**way), hessian=Hessian(gram))
    again = quantise_weight(weight, ConversionSpec(**way), hessian=Hessian(gram))
    assert torch.equal(coded.dequantise(), again.dequantise())
    missed = coded.dequantise() - weight
    assert (missed @ gram * missed).sum() < (weight @ gram * weight).sum()
    for _, code in coded.parts:
        stored = unpack_codes(pack_codes(code.unsigned(), code.bits), code.bits, code.codes.shape[1])
        assert torch.equal(stored.to(torch.int16) * code.spacing - code.spread(code.zero), code.codes)


def test_plain_rounding_is_the_quantiser_of_the_layer_and_needs_no_data():
    weight, _ = layer()
    coded = quantise_weight(weight, ConversionSpec())
    assert torch.equal(coded.dequantise(), weight_encode(weight, 4).dequantise())


def test_compensation_beats_rounding_on_the_outputs():
    weight, gram = layer()

    def error(**way) -> float:
        missed = (
            quantise_weight(weight, ConversionSpec(weight_bits=3, **way), hessian=Hessian(gram)).dequantise() - weight
        )
        return float((missed @ gram * missed).sum())

    plain, cut = error(weights="rtn"), error(weights="rtn", clip_search=True)
    assert cut < plain
    assert error(weights="gptq", act_order=True) < cut
    searched = error(weights="gptq", act_order=True, clip_search=True)
    assert searched < cut
    swept = error(weights="gptq", act_order=True, clip_search=True, scale_sweep=True)
    assert swept < searched
    assert error(weights="gptq", clip_search=True, code_passes=2) < error(weights="gptq", clip_search=True)


def test_a_known_float_stream_moves_the_weight_before_it_is_coded():
    weight, _ = layer()
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(800, 24, generator=generator)
    seen = x + 0.4 * torch.randn(800, 24, generator=generator)
    gram, cross = seen.T @ seen / 800, x.T @ seen / 800
    spec = ConversionSpec(weights="gptq", act_order=True)

    def error(**known) -> float:
        coded = quantise_weight(weight, spec, hessian=Hessian(gram), **known).dequantise()
        return float((seen @ coded.T - x @ weight.T).square().mean())

    assert error(cross=cross) < 0.95 * error()


@pytest.mark.parametrize("way", [way for way in WAYS if way["weights"] != "rtn" or "clip_search" in way])
def test_what_needs_calibration_says_so(way):
    with pytest.raises(DataError, match="without calibration") as caught:
        quantise_weight(layer()[0], ConversionSpec(**way))
    assert "hessian" in (caught.value.received or "")


def test_salient_features_may_have_weight_scales_of_their_own():
    weight, gram = layer()
    salient = torch.arange(24) % 6 == 0
    weight[:, salient] *= 0.1  # where much comes in, weights are small
    gram = gram * torch.where(salient, 10.0, 1.0) * torch.where(salient, 10.0, 1.0).unsqueeze(1)

    def error(spec: ConversionSpec) -> float:
        coded = quantise_weight(weight, spec, hessian=Hessian(gram), salient=salient)
        missed = coded.dequantise() - weight
        return float((missed @ gram * missed).sum())

    for weights in ("rtn", "gptq"):
        apart, together = (ConversionSpec(weights=weights, salient_scale=each) for each in (True, False))
        assert error(apart) < 0.5 * error(together)
    coded = quantise_weight(weight, apart, hessian=Hessian(gram), salient=salient)
    assert [columns.tolist() for columns, _ in coded.parts] == [
        torch.nonzero(~salient)[:, 0].tolist(),
        torch.nonzero(salient)[:, 0].tolist(),
    ]
    with pytest.raises(ConfigError, match="exclude each other"):
        ConversionSpec(salient_scale=True, group_size=8)


@pytest.mark.parametrize("way", [{}, {"scale_sweep": True, "code_passes": 1}], ids=["plain", "swept"])
def test_what_predictions_feel_shapes_gptq_and_nothing_else(way):
    weight, gram = layer()
    generator, felt_error = torch.Generator().manual_seed(1), {True: 0.0, False: 0.0}
    for _ in range(8):
        drawn = torch.randn(24, 12, generator=generator).double()
        felt = drawn.T @ drawn
        for shaped in felt_error:
            spec = ConversionSpec(**{"weights": "gptq", "weight_bits": 3, **way})
            coded = quantise_weight(weight, spec, hessian=Hessian(gram), felt=[felt] if shaped else None)
            error = (coded.dequantise() - weight).double()
            felt_error[shaped] += float(torch.trace(felt @ error @ gram.double() @ error.T))
    assert felt_error[True] < 0.8 * felt_error[False]
    rounded = [quantise_weight(weight, ConversionSpec(), felt=known).dequantise() for known in (None, [torch.eye(12)])]
    assert torch.equal(*rounded)
