"""What single tokens cost adds up to what the whole text costs."""

from __future__ import annotations

import pytest
import torch

from darkit_nb.evaluate import SpikeRecorder, measure_spikes, model_facts
from darkit_nb.evaluate.facts import attention_parts
from darkit_nb.evaluate.token_meter import TokenMeter
from darkit_nb.spikify import spikify
from tests.evaluate.models import decoder
from tests.evaluate.test_spikes import SPECS

TOTALS = (
    *("tokens", "slots", "active_slots", "silent", "unary_events", "bitwise_events", "lost_counts"),
    *("dense_macs", "step_macs", "effective_macs", "ac_unary", "ac_bitwise"),
)


@torch.no_grad()
def token_by_token(model, ids: torch.Tensor):
    """One report for each token of `ids [1, L]`, read with the key/value cache."""
    cache, reports = None, []
    for position in range(ids.shape[1]):
        with SpikeRecorder(model, newest=True) as recorder:
            cache = model(input_ids=ids[:, position : position + 1], past_key_values=cache, use_cache=True)
        cache = cache.past_key_values
        reports.append(recorder.report())
    return reports


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("window", [None, 3])
def test_tokens_add_up_to_their_text(name: str, window: int | None):
    family = "mistral" if window else "llama"
    model = spikify(decoder(family, **({"sliding_window": window} if window else {})), attention=True, **SPECS[name])
    ids = torch.randint(0, 50, (1, 9), generator=torch.Generator().manual_seed(1))
    whole = measure_spikes(model, [ids])
    single = token_by_token(model, ids)
    for place, layer in enumerate(whole.layers):
        parts = [report.layers[place] for report in single]
        assert all(part.name == layer.name for part in parts)
        assert {total: sum(getattr(part, total) for part in parts) for total in TOTALS} == {
            total: getattr(layer, total) for total in TOTALS
        }


@pytest.mark.parametrize("spiking_attention", [False, True])
def test_float_work_of_the_tokens_averages_to_that_of_the_text(spiking_attention: bool):
    model = spikify(decoder("mistral", sliding_window=4), attention=spiking_attention)
    mean = [part for part in model_facts(model, 9).parts if part.origin == "config"]
    single = [list(attention_parts(model, context, newest=True)) for context in range(1, 10)]
    for place, part in enumerate(mean):
        for work in ("macs", "additions", "multiplications", "special"):
            found = [getattr(parts[place], work) for parts in single]
            assert sum(found) / 9 == pytest.approx(getattr(part, work))


def test_a_token_costs_more_the_more_it_sees_and_a_float_model_has_no_spikes():
    ids = torch.zeros(1, 1, dtype=torch.long)
    for model in (spikify(decoder()), decoder()):
        meter = TokenMeter(model)
        works = []
        for context in (1, 40):
            with torch.no_grad(), meter.measuring(context) as work:
                model(input_ids=ids)
            works.append(work)
        assert 0 < works[0].energy_pj < works[1].energy_pj
        spiking = hasattr(model, "quantization_method") or any("Spike" in type(m).__name__ for m in model.modules())
        assert (works[0].firing_rate is not None, works[0].unary_events is not None) == (spiking, spiking)
    assert not spiking  # the last model was the float one
