"""The metrics that ship are found through the plug-in door and can be built."""

from __future__ import annotations

from darkit_nb.evaluate import energy_report, measure_spikes, perplexity
from darkit_nb.plugins import registry


def test_the_metric_registry_builds_what_this_package_exports():
    metrics = registry("metric")
    assert metrics.failures == {}
    built = {entry.name: entry.load() for entry in metrics}
    assert built["perplexity"] is perplexity
    assert built["spikes"] is measure_spikes
    assert built["energy"] is energy_report
