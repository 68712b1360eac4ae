"""Reports of a conversion survive JSON and weigh their layers by work."""

from __future__ import annotations

import json

import pytest

from darkit_nb.records.conversion import BlockReport, ConversionPlan, ConversionReport, ConversionSpec, LayerError


def layer(name: str, width: int, **changes: float) -> LayerError:
    values = {
        "error": 0.01, "mean_steps": 1.0, "activation_bits": 4.0, "code_bits": 4.0, "weight_bits": 4.0,
        "storage_bits": 4.25,
    }  # fmt: skip
    return LayerError(name=name, in_features=width, out_features=10, **{**values, **changes})


def report() -> ConversionReport:
    blocks = tuple(
        BlockReport(
            index=i,
            name=f"model.layers.{i}",
            seconds=1.5,
            peak_bytes=None,
            error=0.02,
            layers=(layer("a", 10), layer("b", 30, mean_steps=1.4)),
            losses=(0.3, 0.2),
        )
        for i in range(2)
    )
    return ConversionReport(
        spec=ConversionSpec(),
        source="m",
        out="n",
        blocks=blocks,
        seconds=3.0,
        peak_bytes=100,
        float_bytes=1600,
        converted_bytes=425,
        saved_bytes=2000,
    )


def test_reports_survive_json():
    again = ConversionReport.from_dict(json.loads(json.dumps(report().to_dict())))
    assert again == report()
    assert len(again.layers) == 4


def test_means_weigh_layers_by_their_work():
    assert report().mean_steps == pytest.approx((100 * 1.0 + 300 * 1.4) / 400)
    assert report().ace == pytest.approx(16 * 1.3)
    assert report().to_dict()["ace"] == report().ace


def test_plans_survive_json():
    plan = ConversionPlan(
        source="m", architecture="LlamaForCausalLM", blocks=2, parameters=10, resident_bytes=3, cache_bytes=4,
        disk_bytes=5, seconds_estimate=None, lines=("a", "b"),
    )  # fmt: skip
    assert ConversionPlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
    assert plan.memory_bytes == 7
    assert plan.text == "a\nb"
