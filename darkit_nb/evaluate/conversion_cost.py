"""What a converted model computes and stores: its conversion's figures, and the spikes counted on a text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from darkit_nb.evaluate.energy import energy_report
from darkit_nb.evaluate.spikes import measure_spikes
from darkit_nb.records.conversion import ConversionReport
from darkit_nb.records.conversion_result import ConversionCost

SPIKE_TOKENS = 1024
"""Tokens on which spikes are counted: enough for three digits, few enough for seconds."""


def conversion_cost(model: nn.Module, report: ConversionReport, batches: Iterable[Any]) -> ConversionCost:
    """Steps, bits, bytes and effort from the conversion; events and energy from the spikes on `batches`.

    Spikes are counted in linear layers and, where keys and values spike too, in attention.

    Args:
        model: the converted model.
        report: of its conversion.
        batches: token ids `[B, L]` each; not read where activations stay in float.
    """
    figures: dict[str, Any] = {
        "mean_steps": report.mean_steps,
        "code_bits": report.code_bits,
        "weight_bits": report.weight_bits,
        "storage_bits": report.storage_bits,
        "weight_bytes": report.converted_bytes,
        "float_bytes": report.float_bytes,
        "ace": report.ace,
    }
    if report.spec.spike is None:
        return ConversionCost(**figures)
    spikes = measure_spikes(model, batches)
    products = max(1, spikes.total("dense_macs"))
    return ConversionCost(
        **figures,
        unary_events=spikes.total("ac_unary") / products,
        bitwise_events=spikes.total("ac_bitwise") / products,
        energy=energy_report(model, spikes),
    )
