"""Reports made by hand, without a model, for records and views."""

from __future__ import annotations

from typing import Any

from darkit_nb.records.activity import LayerActivity, SpikeReport
from darkit_nb.records.energy import EnergyConstants, EnergyReading, EnergyReport, FloatPart


def layer(name: str = "model.layers.0.mlp.up_proj", **changes: Any) -> LayerActivity:
    """4 tokens of 10 features, one of them with two steps, meeting 8 outputs."""
    plain: dict[str, Any] = {
        "name": name,
        "kind": "linear",
        "in_features": 10,
        "out_features": 8,
        "heads": 1,
        "tokens": 4,
        "num_levels": 16,
        "num_steps": 2,
        "coding": "rate",
        "ranges": "shared",
        "signed": False,
        "salient_fraction": 0.1,
        "weight_bits": 4,
        "spike_length_bits": 4.4,
        "code_bits": 4.095,
        "slots": 44,
        "active_slots": 33,
        "active_by_step": (31, 2),
        "silent": 9,
        "dead_features": 0,
        "unary_events": 200,
        "bitwise_events": 60,
        "lost_counts": 0,
        "histogram": (9, 11, *[1] * 19, *[0] * 9, 1),
        "histogram_start": 0,
        "histogram_width": 1,
        "dense_macs": 320,
        "step_macs": 352,
        "effective_macs": 264,
        "ac_unary": 1600,
        "ac_bitwise": 480,
    }
    return LayerActivity(**plain | changes)


def energy(**changes: Any) -> EnergyReport:
    """Six readings with round figures: in µJ 20, 10, 4, 5, 6, 15 with memory."""
    totals = {"float32": 20e6, "float16": 10e6, "integer": 4e6, "steps": 5e6, "bitwise": 6e6, "unary": 15e6}
    readings = tuple(
        EnergyReading(
            key=key,
            name=f"how {key}",
            operations=1000,
            layers_pj=0.5 * total,
            encoding_pj=0,
            float_pj=0,
            memory_pj=0.5 * total,
        )
        for key, total in totals.items()
    )
    parts = (
        FloatPart(name="output head", origin="hooks", macs=33_000),
        FloatPart(name="softmax", origin="config", special=12),
        FloatPart(name="embeddings", origin="hooks", lookups=128),
        FloatPart(name="spike encoding", origin="spikes", additions=7),
    )
    plain: dict[str, Any] = {
        "readings": readings,
        "float_parts": parts,
        "window": 256,
        "tokens_per_weight_load": 256,
        "ace": 1.0,
        "constants": EnergyConstants(),
    }
    return EnergyReport(**plain | changes)


def report(*layers: LayerActivity) -> SpikeReport:
    """A report of those layers."""
    return SpikeReport(layers or (layer(),), 4, 4)
