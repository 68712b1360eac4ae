"""The metrics this package brings along, registered like anybody's."""

from __future__ import annotations

from darkit_nb.plugins import Entry, Registry

METRICS = (
    Entry(
        "perplexity",
        "Perplexity over non-overlapping windows, and bits per byte.",
        "darkit_nb.evaluate.scoring:perplexity",
    ),
    Entry(
        "spikes",
        "Firing rate, silent share, steps and operation counts of every layer.",
        "darkit_nb.evaluate.spikes:measure_spikes",
    ),
    Entry(
        "energy",
        "Energy per token beside dense float and equal-bit integer arithmetic.",
        "darkit_nb.evaluate.energy:energy_report",
    ),
)


def register_metrics(registry: Registry) -> None:
    """Fill the `metric` registry."""
    for entry in METRICS:
        registry.add(entry)
