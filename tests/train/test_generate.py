"""Token after token: reproducible, measured, whole characters, and without a trace in the model or its training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from darkit_nb.data.byte_tokenizer import ByteTokenizer
from darkit_nb.errors import ModelError
from darkit_nb.evaluate import measure_spikes
from darkit_nb.spikify import spikify, spiking_modules
from darkit_nb.train.generate import Sampling, stream_text, stream_tokens
from tests.evaluate.models import decoder


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tokenizer")
    ByteTokenizer().save(folder)
    return AutoTokenizer.from_pretrained(folder)


def model(family: str = "llama", **spec: Any) -> Any:
    return spikify(decoder(family, vocab_size=264), **spec)


def speaking(model: Any, text: str, end: int | None = None) -> Any:
    """`model` with logits that say the bytes of `text` one after another, then the token `end`."""
    said = iter([*text.encode(), *([] if end is None else [end])])

    def say(module, arguments, keywords, output):
        if keywords["use_cache"]:
            output.logits[:, -1] = torch.nn.functional.one_hot(torch.tensor(next(said)), 264).float() * 100
        return output

    model.register_forward_hook(say, with_kwargs=True)
    return model


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_greedy_tokens_are_those_of_transformers(family: str, tokenizer):
    own = model(family, attention=family == "llama")
    ids = torch.tensor([[*b"def f"]])
    want = own.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    found = [
        token["id"] for token in stream_tokens(own, tokenizer, "def f", Sampling(max_new_tokens=12, temperature=0))
    ]
    ends = found.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in found else 12
    assert found == want[0, 5 : 5 + ends].tolist()


def test_the_spikes_of_the_tokens_are_those_of_the_text(tokenizer):
    own = model(attention=True)
    tokens = list(stream_tokens(own, tokenizer, "a", Sampling(max_new_tokens=10, seed=1)))
    read = [ord("a"), *(token["id"] for token in tokens[:-1])]
    report = measure_spikes(own, [torch.tensor([read])])
    assert sum(token["unary_events"] for token in tokens) == report.total("unary_events")
    rates = [token["firing_rate"] for token in tokens]
    assert sum(rates) / len(rates) == pytest.approx(report.firing_rate)
    assert [token["index"] for token in tokens] == list(range(len(tokens)))
    assert all(token["energy_pj"] > 0 and token["seconds"] > 0 for token in tokens)


def test_measuring_changes_no_token(tokenizer):
    own, sampling = model(), Sampling(max_new_tokens=15, seed=5)
    measured = [token["id"] for token in stream_tokens(own, tokenizer, "x", sampling)]
    plain = list(stream_tokens(own, tokenizer, "x", sampling, measure=False))
    assert [token["id"] for token in plain] == measured
    assert {(token["firing_rate"], token["energy_pj"], token["unary_events"]) for token in plain} == {(None,) * 3}


def test_a_seed_gives_the_same_text_and_none_gives_another(tokenizer):
    own = model()

    def said(**changes: Any) -> list[int]:
        return [t["id"] for t in stream_tokens(own, tokenizer, "x", Sampling(max_new_tokens=20, **changes))]

    assert said(seed=3) == said(seed=3) != said(seed=4)
    assert said() != said()
    assert said(top_k=1, seed=1) == said(temperature=0)
    assert said(top_p=1e-9, seed=1) == said(temperature=0)


def test_text_comes_in_whole_characters_and_stops_at_the_end_of_text(tokenizer):
    end = tokenizer.eos_token_id
    own = speaking(model(), "a€😀!", end)
    tokens = list(stream_tokens(own, tokenizer, "", Sampling(max_new_tokens=30, temperature=0)))
    assert [token["text"] for token in tokens] == ["a", "", "", "€", "", "", "", "😀", "!", ""]
    assert tokens[-1]["id"] == end
    cut = speaking(model(), "a€")
    assert [t["text"] for t in stream_tokens(cut, tokenizer, "", Sampling(max_new_tokens=3, temperature=0))] == [
        *("a", ""),
        "\N{REPLACEMENT CHARACTER}",
    ]
    assert "".join(stream_text(speaking(model(), "a€😀!", end), tokenizer, "", Sampling(temperature=0))) == "a€😀!"


def test_a_pausing_training_does_not_notice(tokenizer):
    own = model(reselect_every=1).train()
    *_, last = spiking_modules(own).values()
    last.eval()
    last.spike_listener = listener = lambda module, code: None
    before = {name: value.clone() for name, value in own.state_dict().items()}
    state, stream = torch.get_rng_state(), stream_tokens(own, tokenizer, "abc", Sampling(max_new_tokens=9))
    next(stream)
    assert (own.training, last.training) == (True, False)
    assert last.spike_listener is listener
    assert torch.is_grad_enabled()
    next(stream)
    stream.close()
    assert (own.training, last.training) == (True, False)
    assert all(torch.equal(value, before[name]) for name, value in own.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_generation_ends_at_a_full_context(tokenizer):
    own = model()  # 64 positions
    tokens = list(stream_tokens(own, tokenizer, "x" * 60, Sampling(max_new_tokens=50, temperature=0)))
    assert len(tokens) <= 4
    assert len(list(stream_tokens(own, tokenizer, "x" * 500, Sampling(max_new_tokens=50, temperature=0)))) == 1


def test_a_float_model_generates_too(tokenizer):
    own = decoder(vocab_size=264)
    (token,) = stream_tokens(own, tokenizer, "x", Sampling(max_new_tokens=1))
    assert token["firing_rate"] is None
    assert token["unary_events"] is None
    assert token["energy_pj"] > 0


def test_a_broken_model_is_named(tokenizer):
    own = model()
    own.lm_head.weight.data.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        next(stream_tokens(own, tokenizer, "x", Sampling()))
