"""Spikes and energy of one generated token: the work of its own forward, with keys and values of earlier ones kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from darkit_nb.evaluate.energy import account
from darkit_nb.evaluate.facts import attention_parts, model_facts
from darkit_nb.records.activity import SpikeReport
from darkit_nb.records.energy import FLOAT_READING, SPIKING_READING, ModelFacts
from darkit_nb.spikify import spiking_modules
from darkit_nb.trace.spikes import SpikeRecorder


@dataclass
class TokenWork:
    """What one token took.

    Attributes:
        firing_rate: share of its slots that held a spike; None for a float model.
        unary_events: unit spikes sent; None for a float model.
        energy_pj: simulated, memory included and the weights fetched for this token alone.
    """

    firing_rate: float | None = None
    unary_events: int | None = None
    energy_pj: float = 0.0


class TokenMeter:
    """Measures forwards of one token each.

        meter = TokenMeter(model)
        with meter.measuring(context=12) as work:
            model(input_ids=[[token]], past_key_values=cache)
        work.energy_pj

    Args:
        model: spiking or float. A short forward tells what it computes in float.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model, self._spiking = model, bool(spiking_modules(model))
        self._hooked = tuple(part for part in model_facts(model, 1).parts if part.origin == "hooks")

    @contextmanager
    def measuring(self, context: int) -> Iterator[TokenWork]:
        """A record that is filled when the block ends.

        Args:
            context: tokens in sight of the new one, itself included.
        """
        work = TokenWork()
        facts = ModelFacts(self._hooked + tuple(attention_parts(self._model, context, newest=True)), context)
        if self._spiking:
            with SpikeRecorder(self._model, newest=True) as recorder:
                yield work
            spikes = SpikeReport(recorder.report().layers, 1, context)
            work.firing_rate, work.unary_events = spikes.firing_rate, spikes.total("unary_events")
        else:
            yield work
            spikes = SpikeReport((), 1, context)
        report = account(spikes, facts, tokens_per_weight_load=1)
        work.energy_pj = report.reading(SPIKING_READING if self._spiking else FLOAT_READING).total_pj
