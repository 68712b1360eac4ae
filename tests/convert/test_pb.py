"""PB-LLM: binary weights, the salient ones in 8 bits."""

from __future__ import annotations

import pytest
import torch

from darkit_nb.convert.hessian import Hessian
from darkit_nb.convert.pb import pb_weight, salient_weights


def test_all_but_the_salient_weights_are_one_value_or_its_negative():
    torch.manual_seed(0)
    x = torch.randn(300, 30, dtype=torch.float64)
    weight = torch.randn(12, 30, dtype=torch.float64)
    coded = pb_weight(weight, Hessian(x.T @ x), fraction=0.1)
    codes = coded.parts[0][1].codes
    for row in codes:
        values, counts = row.abs().unique(return_counts=True)
        common = values[counts.argmax()]
        assert counts.max() >= 20
        assert common > 0
    share = 1 - (codes.abs() == codes.abs().mode(1, keepdim=True).values).double().mean()
    assert share == pytest.approx(0.1, abs=0.02)


def test_a_diagonal_hessian_gives_the_closed_form():
    torch.manual_seed(1)
    weight = torch.randn(5, 200)
    importance = torch.rand(200) + 0.1
    coded = pb_weight(weight, Hessian(torch.diag(importance), 1e-6), fraction=0.05)
    salient = salient_weights(weight, 1 / (importance + 1e-6 * importance.mean()), 0.05)
    alpha = (weight.abs() * importance * ~salient).sum(1, keepdim=True) / (importance * ~salient).sum(1, keepdim=True)
    value = coded.dequantise()
    scale = coded.parts[0][1].scale
    assert ((value - alpha * weight.sign()).abs()[~salient] <= 0.51 * scale.expand_as(value)[~salient]).all()
    assert ((value - weight).abs()[salient] <= 0.51 * scale.expand_as(value)[salient]).all()


def test_no_salient_weight_is_plain_binarisation_and_more_of_them_lose_less():
    torch.manual_seed(2)
    x = torch.randn(400, 40, dtype=torch.float64) @ torch.randn(40, 40, dtype=torch.float64)
    gram, weight = x.T @ x, torch.randn(20, 40, dtype=torch.float64)
    values = pb_weight(weight, Hessian(gram), fraction=0.0).dequantise()
    assert all(row.unique().numel() == 2 for row in values)

    def error(fraction: float) -> float:
        missed = weight - pb_weight(weight, Hessian(gram), fraction=fraction).dequantise()
        return float(((missed @ gram) * missed).sum())

    assert error(0.0) > error(0.1) > error(0.3) > error(1.0)
