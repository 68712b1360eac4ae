"""A captured text holds exactly the spikes the model's neurons sent, and taking it leaves no trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from darkit_nb.data.byte_tokenizer import ByteTokenizer
from darkit_nb.errors import DataError, ModelError
from darkit_nb.evaluate import measure_spikes, snapshot
from darkit_nb.evaluate.snapshot import capture
from darkit_nb.records.snapshot import SpikeSnapshot
from darkit_nb.spikify import spikify, spiking_modules
from tests.evaluate.models import decoder
from tests.evaluate.test_spikes import SPECS, hear


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    ByteTokenizer().save(folder)
    return AutoTokenizer.from_pretrained(folder)


def model(family: str = "llama", **spec: Any) -> Any:
    return spikify(decoder(family, vocab_size=264), **spec)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("name", [*SPECS, "signed radix", "wide"])
def test_counts_planes_and_membranes_are_the_neurons_own(name: str, family: str, tokenizer):
    more = {
        "signed radix": {"num_levels": 3, "num_steps": 3, "coding": "radix", "signed": True, "salient_fraction": 0.5},
        "wide": {"num_levels": 256, "num_steps": 3, "signed": True},
    }
    own = model(family, attention=family == "llama", **(SPECS | more)[name])
    text = "def f(x): é"
    seen = capture(own, tokenizer, text, step=7)
    heard = hear(own, torch.tensor([[*text.encode()]]))
    assert seen.names == tuple(spiking_modules(own))
    assert (seen.text, seen.step, len(seen.tokens)) == (text, 7, len(text.encode()))
    assert "".join(seen.tokens) == text
    for layer in seen.layers:
        (code,) = heard[layer.name]
        assert np.array_equal(layer.counts, flat(code.counts))
        assert layer.counts.dtype == code.counts.numpy().dtype
        planes = np.stack([flat(plane) for plane in code.planes()])
        assert np.array_equal(layer.planes(), planes)
        assert layer.planes().dtype == planes.dtype
        assert layer.cap == code.cap
        assert layer.firing_rate == pytest.approx(code.firing_rate())
        value = (layer.counts - layer.per_feature(layer.zero_point)) * layer.per_feature(layer.scale)
        assert np.array_equal(value.astype(np.float32), flat(code.dequantise()))
        # The stored input lies within half a count of the value its spikes stand for, where nothing was clamped.
        inside = np.abs(layer.counts) < np.where(layer.steps_per_feature > 1, layer.cap, layer.num_levels - 1)
        room = 0.51 + np.abs(layer.charge()) * 2**-10
        assert (
            np.abs(layer.charge() - layer.counts)[inside & (layer.counts != 0)] <= room[inside & (layer.counts != 0)]
        ).all()


def flat(value: torch.Tensor) -> np.ndarray:
    """`[1, L, D]`, or `[1, H, L, K]` with heads side by side, as `[L, D]`."""
    value = value.transpose(1, 2) if value.dim() == 4 else value
    return value.reshape(value.shape[1], -1).numpy()


def test_a_snapshot_of_a_model_survives_its_file(tmp_path, tokenizer):
    seen = capture(model(attention=True), tokenizer, "hello")
    seen.save(tmp_path / "a.safetensors")
    again = SpikeSnapshot.load(tmp_path / "a.safetensors")
    for one, other in zip(seen.layers, again.layers, strict=True):
        assert np.array_equal(one.planes(), other.planes())
        assert np.array_equal(one.charge(), other.charge())
        assert (one.kind, one.heads) == (other.kind, other.heads)


def test_the_rates_are_those_of_the_measurement(tokenizer):
    own = model(attention=True)
    seen = capture(own, tokenizer, "hello there")
    report = measure_spikes(own, [torch.tensor([[*b"hello there"]])])
    assert [layer.firing_rate for layer in seen.layers] == pytest.approx([each.firing_rate for each in report.layers])
    assert seen.firing_rate == pytest.approx(report.firing_rate)


def test_layers_are_chosen_by_name_or_pattern(tokenizer):
    own = model()
    one = "model.layers.1.mlp.up_proj"
    assert capture(own, tokenizer, "a", [one]).names == (one,)
    assert all(".mlp." in name for name in capture(own, tokenizer, "a", ["*.mlp.*"]).names)
    with pytest.raises(ModelError, match=r"(?s)as model\.layers\.1\.mlp\.up_proj.*received: model\.layers\.1\.mlp\.up"):
        capture(own, tokenizer, "a", ["model.layers.1.mlp.up"])


def test_looking_leaves_no_trace(tokenizer):
    own = model(reselect_every=1).train()
    modules = spiking_modules(own)
    heard = []
    first, *_, last = modules.values()
    first.spike_listener = listener = lambda module, code: heard.append(module)
    last.eval()
    before = {name: value.clone() for name, value in own.state_dict().items()}
    state = torch.get_rng_state()
    capture(own, tokenizer, "a b")
    assert heard == [first]
    assert first.spike_listener is listener
    assert last.spike_listener is None
    assert (own.training, first.training, last.training) == (True, True, False)
    assert all(torch.equal(value, before[name]) for name, value in own.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_pre_hooks for module in modules.values())


def test_long_empty_and_oversized_texts_are_refused_before_any_forward(tokenizer, monkeypatch):
    own = model()
    own.register_forward_pre_hook(lambda *_: pytest.fail("the model was run"))
    with pytest.raises(DataError, match=r"(?s)10,000 tokens.*at most 64 tokens.*attend.*shorten"):
        capture(own, tokenizer, "x" * 10_000)
    with pytest.raises(DataError, match=r"at most 20 tokens"):
        capture(own, tokenizer, "x" * 30, max_tokens=20)
    with pytest.raises(DataError, match="type a few words"):
        capture(own, tokenizer, "")
    monkeypatch.setattr(snapshot, "MAX_BYTES", 1000)
    with pytest.raises(DataError, match=r"choose layers, as layers=\['model\.layers\.0"):
        capture(own, tokenizer, "hello")


def test_a_float_model_has_nothing_to_show(tokenizer):
    with pytest.raises(ModelError, match="spikify"):
        capture(decoder(vocab_size=264), tokenizer, "a")
