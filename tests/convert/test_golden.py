"""Conformance: the published implementation through the steps of a conversion, and what exact spikes promise."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from darkit_nb.convert.lwc import LearnedClipping
from darkit_nb.convert.saliency import energy_from_gram, feature_saliency
from darkit_nb.functional.gif import gif_encode, gif_quantise
from darkit_nb.functional.saliency import choose_salient
from darkit_nb.functional.spike_linear import spike_product
from darkit_nb.functional.weight import weight_encode

LINEARS = ("linear_w4a4_add1_p0.9", "linear_w4a4_add2_p0.95_lwc", "linear_w2a8_add1_p0.9_lwc")


def gold_of(folder: Path, name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(folder / "golden" / f"{name}.safetensors", framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118


@pytest.mark.parametrize("name", LINEARS)
def test_paper_mode_gives_the_published_saliency_codes_and_outputs(test_data: Path, name: str):
    gold, meta = gold_of(test_data, name)
    bits, steps = int(meta["ab"]), 2 ** int(meta["addbit"])
    tokens = gold["calibration"].flatten(0, 1)
    energy = energy_from_gram(tokens.double().T @ tokens.double() / len(tokens), gold["weight"])
    torch.testing.assert_close(energy.float(), gold["saliency"], rtol=1e-5, atol=1e-4)
    salient = choose_salient(energy, 1 - float(meta["low_p"]), above_quantile=True)
    assert torch.equal(salient, ~gold["low_mask"])

    paper = {"num_levels": 2**bits, "num_steps": steps, "coding": "paper"}
    assert torch.equal(
        gif_encode(gold["x"], salient=torch.ones_like(salient), **paper).counts.float(), gold["x_int_high"]
    )
    code = gif_encode(gold["x"], salient=salient, **paper)
    assert torch.equal(code.dequantise(), torch.where(salient, gold["x_high"], gold["x_low"]))
    assert torch.equal(code.scale, torch.cat([gold["scale_low"], gold["scale_high"]], -1))
    assert torch.equal(code.zero_point.float(), torch.cat([gold["zero_low"], gold["zero_high"]], -1))

    clip = 1 / (1 + math.exp(-4)) if meta["lwc"] == "True" else 1.0
    weight = weight_encode(gold["weight"], int(meta["wb"]), clip=clip)
    assert torch.equal(weight.dequantise(), gold["weight_dequant"])
    torch.testing.assert_close(spike_product(code, weight, gold["bias"]), gold["y"], rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("name", [name for name in LINEARS if name.endswith("lwc")])
def test_learned_clipping_begins_where_the_published_one_does(test_data: Path, name: str):
    gold, meta = gold_of(test_data, name)
    clipping = LearnedClipping(gold["weight"], int(meta["wb"]))
    assert torch.equal(clipping(gold["weight"]), gold["weight_dequant"])
    grid = clipping.grid(gold["weight"])
    assert torch.equal(grid.value(grid.codes(gold["weight"])), gold["weight_dequant"])


@pytest.mark.parametrize("product", ["qk", "pv"])
def test_paper_mode_gives_the_published_attention_products(test_data: Path, product: str):
    gold, _ = gold_of(test_data, f"{product}_matmul_a4_add1_p0.9")
    paper = {"num_levels": 16, "num_steps": 2, "coding": "paper"}
    # The published code takes the range of K over its last axis, the tokens; so K goes in as it lies.
    second = gif_quantise(gold["x2"], salient=~gold["low_mask"].expand_as(gold["x2"]), **paper)
    first = gif_quantise(gold["x1"], num_levels=16) if product == "qk" else gold["x1"]
    torch.testing.assert_close(first @ second, gold["y"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ranges", ["shared", "own"])
@pytest.mark.parametrize("signed", [False, True])
def test_exact_spikes_are_the_quantiser_bit_for_bit(ranges: str, signed: bool):
    """For every coding, number of steps and bits: spikes summed by their worth are the codes, and nothing is lost."""
    torch.manual_seed(0)
    x = torch.randn(3, 11, 40) * torch.logspace(-1, 1, 40)
    salient = torch.rand(40) < 0.3
    for coding, steps, bits in itertools.product(("rate", "radix"), (1, 2, 3, 4), (1, 2, 3, 4, 8)):
        if coding == "radix" and bits * steps > 20:
            continue  # refused by SpikeSpec: float32 arithmetic on larger codes is not exact
        neuron = {"num_levels": 2**bits, "num_steps": steps, "coding": coding, "ranges": ranges, "signed": signed}
        code = gif_encode(x, salient=salient, **neuron)
        worth = torch.tensor(code.plane_weights()).view(-1, 1, 1, 1)
        assert torch.equal((code.planes().long() * worth).sum(0), code.counts.long())
        assert code.planes().abs().max() <= 2**bits - 1
        assert code.lost_counts == 0
        assert torch.equal(code.dequantise(), gif_quantise(x, salient=salient, **neuron))


@pytest.mark.parametrize("coding", ["rate", "radix"])
def test_a_zero_point_is_taken_off_over_its_own_features_only(coding: str):
    """The published simulation subtracts it over all of them, and misses the product it stands for."""
    torch.manual_seed(1)
    x, w = torch.randn(20, 30) + 0.5, torch.randn(6, 30)
    salient = torch.rand(30) < 0.4
    code = gif_encode(x, num_levels=16, num_steps=2, salient=salient, coding=coding, ranges="own")
    weight = weight_encode(w, 4)
    right = spike_product(code, weight)
    torch.testing.assert_close(right, code.dequantise() @ weight.dequantise().T, rtol=1e-4, atol=1e-4)
    wrong = torch.zeros_like(right)
    for group, members in enumerate((~salient, salient)):
        counts = (code.counts * members).double() @ weight.dequantise().double().T
        offset = code.zero_point[..., group : group + 1] * weight.dequantise().double().sum(1)
        wrong += ((counts - offset) * code.scale[..., group : group + 1]).float()
    assert not torch.allclose(wrong, right, rtol=0.1, atol=0.1)


def test_the_published_choice_does_not_see_a_diagonal_rescaling():
    torch.manual_seed(2)
    x, w, s = torch.randn(500, 64), torch.randn(40, 64), torch.rand(64) * 30 + 0.1

    def chosen(x: Tensor, w: Tensor) -> Tensor:
        score = feature_saliency(
            "energy", gram=x.double().T @ x.double() / len(x), low=x.amin(0), high=x.amax(0), weight=w
        )
        return choose_salient(score, 0.1)

    assert torch.equal(chosen(x, w), chosen(x / s, w * s))


@pytest.mark.parametrize("coding", ["rate", "radix", "paper"])
def test_keys_are_causal(coding: str):
    """Per token over its own features: another later token leaves every earlier code as it was."""
    torch.manual_seed(3)
    keys = torch.randn(1, 2, 12, 16)
    salient = torch.rand(2, 1, 16) < 0.2
    neuron = {"num_levels": 16, "num_steps": 2, "coding": coding, "salient": salient}
    before = gif_encode(keys, **neuron)
    changed = keys.clone()
    changed[:, :, 9] *= 50
    after = gif_encode(changed, **neuron)
    assert torch.equal(before.counts[:, :, :9], after.counts[:, :, :9])
    assert torch.equal(before.dequantise()[:, :, 10:], after.dequantise()[:, :, 10:])
    assert not torch.equal(before.dequantise()[:, :, 9], after.dequantise()[:, :, 9])
