"""Judge a model: count its spikes, account for its energy, score text."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from darkit_nb.evaluate.energy import account as account
    from darkit_nb.evaluate.energy import energy_report as energy_report
    from darkit_nb.evaluate.facts import model_facts as model_facts
    from darkit_nb.evaluate.paired import paired_difference as paired_difference
    from darkit_nb.evaluate.run import evaluate_run as evaluate_run
    from darkit_nb.evaluate.scoring import perplexity as perplexity
    from darkit_nb.evaluate.scoring import window_losses as window_losses
    from darkit_nb.evaluate.snapshot import capture as capture
    from darkit_nb.evaluate.spikes import measure_spikes as measure_spikes
    from darkit_nb.trace.spikes import SpikeRecorder as SpikeRecorder

# Lazy, because the metric registry of forms lives beside these and must not load torch.
_EXPORTS = {
    "SpikeRecorder": "spikes",
    "account": "energy",
    "capture": "snapshot",
    "energy_report": "energy",
    "evaluate_run": "run",
    "measure_spikes": "spikes",
    "model_facts": "facts",
    "paired_difference": "paired",
    "perplexity": "scoring",
    "window_losses": "scoring",
}

__all__ = [
    "SpikeRecorder",
    "account",
    "capture",
    "energy_report",
    "evaluate_run",
    "measure_spikes",
    "model_facts",
    "paired_difference",
    "perplexity",
    "window_losses",
]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value
