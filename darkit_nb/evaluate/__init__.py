"""Judge a model: count its spikes, account for its energy, score text."""

from darkit_nb.evaluate.energy import account, energy_report
from darkit_nb.evaluate.facts import model_facts
from darkit_nb.evaluate.perplexity import perplexity
from darkit_nb.evaluate.run import evaluate_run
from darkit_nb.evaluate.spikes import SpikeRecorder, measure_spikes

__all__ = ["SpikeRecorder", "account", "energy_report", "evaluate_run", "measure_spikes", "model_facts", "perplexity"]
