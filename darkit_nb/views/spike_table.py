"""Who fires how much: one row per layer, or per role summed over the depth of the model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from darkit_nb.records.activity import LayerActivity, SpikeReport
from darkit_nb.views.numbers import percent, short, significant, sparkline
from darkit_nb.views.table import WIDTH, TableView

By = Literal["role", "layer"]


def spike_table(report: SpikeReport, *, by: By = "role", width: int = WIDTH) -> str:
    """`spike_view` as text of `width` columns."""
    return spike_view(report, by=by).to_text(width)


def spike_view(report: SpikeReport, *, by: By = "role") -> TableView:
    """Firing of every layer.

    Args:
        report: what was counted.
        by: "layer" gives each layer a row; "role" sums those that differ only in their position, as q_proj of all
            blocks.
    """
    groups: dict[str, list[LayerActivity]] = {}
    for layer in report.layers:
        groups.setdefault(role_of(layer.name) if by == "role" else layer.name, []).append(layer)
    rows = [_row(_named(name, layers, by), layers) for name, layers in groups.items()]
    if len(rows) > 1:
        rows.append(_row(f"all {len(report.layers)} layers", report.layers))
    notes = [
        "fires: share of (token, feature, step) slots that hold a spike. silent: share of (token, feature) pairs "
        "without any. steps: those that hold a spike, of those there are. per product: additions that stand for one "
        "multiplication, with spikes read as unit events and as set bits.",
        f"Spike length {_mean_bits(report, 'spike_length_bits')} bits a feature, (T/L)·log₂L in SpikeLLM's notation; "
        f"information {_mean_bits(report, 'code_bits')} bits.",
    ]
    lost = report.total("lost_counts")
    if lost:
        notes.append(f"{short(lost)} counts were lost: paper codes reach further than their steps can carry.")
    dead = report.total("dead_features")
    if dead:
        notes.append(f"{short(dead)} features never fired on these {short(report.tokens)} tokens.")
    return TableView(
        title=f"Spikes on {short(report.tokens)} tokens",
        headers=("layer", "fires", "silent", "steps", "counts", "unit", "bit"),
        rows=tuple(rows),
        notes=tuple(notes),
        total=len(rows) > 1,
    )


def role_of(name: str) -> str:
    """What is left of a dotted name after the position in the stack: `model.layers.3.mlp.up_proj` is `mlp.up_proj`."""
    parts = name.split(".")
    numbered = [index for index, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[numbered[-1] + 1 :]) if numbered and numbered[-1] + 1 < len(parts) else name


def _mean_bits(report: SpikeReport, attribute: str) -> str:
    """Mean of a layer's bits over all features of all layers."""
    features = sum(layer.in_features for layer in report.layers)
    return f"{sum(getattr(layer, attribute) * layer.in_features for layer in report.layers) / max(1, features):.2f}"


def _named(name: str, layers: list[LayerActivity], by: By) -> str:
    return f"{name} ×{len(layers)}" if by == "role" and len(layers) > 1 else name


def _row(name: str, layers: Iterable[LayerActivity]) -> tuple[str, ...]:
    layers = list(layers)

    def total(count: str) -> int:
        return sum(getattr(layer, count) for layer in layers)

    pairs = sum(layer.tokens * layer.in_features for layer in layers)
    return (
        name,
        percent(total("active_slots") / total("slots")),
        percent(total("silent") / pairs),
        f"{total('active_slots') / pairs:.2f} of {total('slots') / pairs:.2f}",
        _shared_histogram(layers),
        significant(total("ac_unary") / total("dense_macs")),
        significant(total("ac_bitwise") / total("dense_macs")),
    )


def _shared_histogram(layers: list[LayerActivity]) -> str:
    """Blocks for the counts of layers that have the same range of codes; empty where they have not."""
    shapes = {(len(layer.histogram), layer.histogram_start, layer.histogram_width) for layer in layers}
    if len(shapes) != 1:
        return ""
    return sparkline([sum(bins) for bins in zip(*(layer.histogram for layer in layers), strict=True)])
