"""Counting spikes: exact against brute force over the planes, on any layer, and without a trace left behind."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from darkit_nb.errors import ModelError, ShapeError
from darkit_nb.evaluate import SpikeRecorder, measure_spikes
from darkit_nb.functional.spike_code import SpikeCode
from darkit_nb.records.activity import LayerActivity
from darkit_nb.spikify import spikify, spiking_modules
from darkit_nb.trace.attention import attending_queries, attention_window
from tests.evaluate.models import Stack, decoder

SPECS = {
    "default": {},
    "binary": {"num_levels": 2, "num_steps": 4, "salient_fraction": 0.3},
    "radix": {"num_levels": 4, "num_steps": 3, "coding": "radix", "ranges": "own"},
    "paper": {"coding": "paper", "salient_fraction": 0.5},
    "ternary": {"num_levels": 2, "num_steps": 1, "signed": True},
    "every feature": {"num_levels": 16, "num_steps": 2, "salient_fraction": 1.0},
}


def hear(model: nn.Module, ids: torch.Tensor) -> dict[str, list[SpikeCode]]:
    """Every code of a forward by layer, taken down by a listener of the test's own."""
    heard: dict[str, list[SpikeCode]] = {}
    for module in spiking_modules(model).values():
        module.spike_listener = lambda own, code: heard.setdefault(own.spike_name, []).append(code)
    with torch.no_grad():
        model(input_ids=ids, use_cache=False) if isinstance(model, PreTrainedModel) else model(ids)
    for module in spiking_modules(model).values():
        module.spike_listener = None
    return heard


def brute_force(code: SpikeCode, fan_out: torch.Tensor | int) -> dict[str, int]:
    """Counts of one code, spike by spike from its planes; `fan_out` products for each feature."""
    planes = code.planes().to(torch.int64)
    bits = torch.stack(
        [torch.tensor([v.bit_count() for v in p.abs().flatten().tolist()]).view(p.shape) for p in planes]
    )
    steps = torch.as_tensor(code.steps_per_feature).expand(code.counts.shape)
    fires = planes != 0
    weights = torch.tensor(code.plane_weights()).view(-1, *[1] * code.counts.dim())
    return {
        "slots": int(steps.sum()),
        "active_slots": int(fires.sum()),
        "silent": int((~fires.any(0)).sum()),
        "unary_events": int(planes.abs().sum()),
        "bitwise_events": int(bits.sum()),
        "lost_counts": int((code.counts.to(torch.int64) - (weights * planes).sum(0)).abs().sum()),
        "dense_macs": int((torch.ones_like(steps) * fan_out).sum()),
        "step_macs": int((steps * fan_out).sum()),
        "effective_macs": int((fires.sum(0) * fan_out).sum()),
        "ac_unary": int((planes.abs().sum(0) * fan_out).sum()),
        "ac_bitwise": int((bits.sum(0) * fan_out).sum()),
    }


def counted(layer: LayerActivity, names: dict[str, int]) -> dict[str, int]:
    return {name: getattr(layer, name) for name in names}


@pytest.mark.parametrize("name", SPECS)
def test_linear_layers_are_counted_exactly(name: str):
    model = spikify(Stack(), **SPECS[name])
    ids = torch.randint(0, 32, (3, 9))
    report = measure_spikes(model, [ids])
    heard = hear(model, ids)
    assert [layer.name for layer in report.layers] == ["up", "down"]
    assert (report.tokens, report.window) == (27, 9)
    for layer in report.layers:
        (code,) = heard[layer.name]
        want = brute_force(code, layer.out_features)
        assert counted(layer, want) == want
        assert layer.dense_macs == 27 * layer.in_features * layer.out_features
        by_step = [int((plane != 0).sum()) for plane in code.planes()]
        assert list(layer.active_by_step) == by_step
        assert layer.dead_features == int((code.counts == 0).view(-1, layer.in_features).all(0).sum())
        assert layer.firing_rate == pytest.approx(code.firing_rate())
        assert layer.silent_share == pytest.approx(code.silent_share())
        assert layer.spike_length_bits == code.spike_length_bits
        assert layer.code_bits == code.code_bits


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("window", [None, 3])
def test_attention_products_are_counted_exactly_for_every_query_that_attends(name: str, window: int | None):
    family = "mistral" if window else "llama"
    model = spikify(decoder(family, **({"sliding_window": window} if window else {})), attention=True, **SPECS[name])
    ids = torch.randint(0, 50, (3, 8))
    report = measure_spikes(model, [ids])
    heard = hear(model, ids)
    attention = [layer for layer in report.layers if layer.kind != "linear"]
    assert [layer.kind for layer in attention] == ["attention_key", "attention_value"] * 2
    # Two query heads share each key/value head; token j is seen by the queries j … L−1, inside the sliding window.
    queries = torch.tensor([2 * len([i for i in range(j, 8) if window is None or i - j < window]) for j in range(8)])
    for layer in attention:
        (code,) = heard[layer.name]
        assert tuple(code.counts.shape) == (3, 2, 8, 6)
        want = brute_force(code, queries.view(1, 1, 8, 1))
        assert counted(layer, want) == want
        assert (layer.tokens, layer.in_features, layer.out_features, layer.heads) == (24, 12, 2, 2)
        assert layer.weight_bits == 16  # queries and probabilities are float
        silent = (code.counts == 0).all(2).all(0).sum()
        assert layer.dead_features == int(silent)


def test_the_histogram_counts_every_count_and_is_binned_when_there_are_many():
    ids = torch.randint(0, 32, (4, 8))
    model = spikify(Stack())
    layer = measure_spikes(model, [ids]).layers[0]
    (code,) = hear(model, ids)["up"]
    want = torch.bincount(code.counts.flatten().long(), minlength=31).tolist()
    assert (list(layer.histogram), layer.histogram_start, layer.histogram_width) == (want, 0, 1)
    wide = measure_spikes(spikify(Stack(), num_levels=16, num_steps=3, coding="radix", signed=True), [ids]).layers[0]
    assert wide.histogram_start == -4095
    assert wide.histogram_width == 128
    assert len(wide.histogram) == 64
    assert sum(wide.histogram) == 32 * 20


def test_batches_add_up_and_the_order_does_not_matter():
    model = spikify(Stack())
    a, b = torch.randint(0, 32, (2, 8)), torch.randint(0, 32, (1, 5))
    both, swapped = measure_spikes(model, [a, {"input_ids": b}]), measure_spikes(model, [b.numpy(), a])
    assert both == swapped
    apart = [measure_spikes(model, [ids]) for ids in (a, b)]
    for count in ("ac_unary", "ac_bitwise", "slots", "silent", "dense_macs"):
        assert both.total(count) == sum(report.total(count) for report in apart)
    assert both.tokens == 21


def test_counts_are_exact_integers_far_beyond_float32():
    scale, zero = torch.ones(1, 4096, 1), torch.zeros(1, 4096, 1, dtype=torch.int32)
    code = SpikeCode(torch.full((1, 4096, 1024), 15, dtype=torch.uint8), scale, zero, 16, 1)
    model = spikify(nn.Sequential(nn.Linear(1024, 333)), num_steps=1)
    with SpikeRecorder(model) as recorder:
        for _ in range(3):
            model[0].spike_listener(model[0], code)
    (layer,) = recorder.report().layers
    assert layer.ac_unary == 3 * 4096 * 1024 * 15 * 333
    assert layer.ac_unary > 2**32


def test_listeners_are_restored_and_heard_meanwhile_also_after_an_error():
    model = spikify(Stack())
    heard = []
    model.up.spike_listener = own = lambda module, code: heard.append(module)
    with SpikeRecorder(model) as outer, SpikeRecorder(model) as inner:
        model(torch.zeros(1, 4, dtype=torch.long))
    assert heard == [model.up]
    assert outer.report() == inner.report()
    assert model.up.spike_listener is own
    with pytest.raises(ZeroDivisionError), SpikeRecorder(model):
        _ = 1 / 0
    assert model.up.spike_listener is own
    assert model.down.spike_listener is None


def test_measuring_learns_nothing_and_puts_the_mode_back():
    model = spikify(Stack(), reselect_every=1).train()
    model.down.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measure_spikes(model, [torch.randint(0, 32, (2, 8))])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert (model.training, model.up.training, model.down.training) == (True, True, False)
    with pytest.raises(IndexError):
        measure_spikes(model, [torch.full((1, 2), 99)])
    assert (model.training, model.up.training, model.down.training) == (True, True, False)
    assert model.up.spike_listener is None


def test_nothing_to_measure_is_an_error_with_its_fix():
    with pytest.raises(ModelError, match="nothing to count") as caught:
        measure_spikes(Stack(), [torch.zeros(1, 2, dtype=torch.long)])
    assert "spikify" in str(caught.value)
    with pytest.raises(ShapeError, match="no token"):
        measure_spikes(spikify(Stack()), iter([]))


def test_attending_queries():
    assert attending_queries(4, None).tolist() == [4, 3, 2, 1]
    assert attending_queries(5, 2).tolist() == [2, 2, 2, 2, 1]
    mistral = decoder("mistral", sliding_window=3)
    assert attention_window(mistral, "model.layers.0.self_attn") == 3
    assert attention_window(decoder(), "model.layers.0.self_attn") is None
    qwen = decoder("qwen2", use_sliding_window=False, sliding_window=3)
    assert attention_window(qwen, "model.layers.0.self_attn") is None
