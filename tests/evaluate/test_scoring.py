"""Perplexity by the published protocol, spelt out window by window; losses of windows, which average to it."""

from __future__ import annotations

import math

import pytest
import torch

from darkit_nb.errors import DataError, ModelError
from darkit_nb.evaluate import perplexity, window_losses
from darkit_nb.records.paired import WindowLosses
from darkit_nb.spikify import spikify
from tests.evaluate.models import decoder


def by_hand(model: torch.nn.Module, ids: torch.Tensor, window: int) -> float:
    """The published loop: mean loss of the window's predicted tokens times window, summed, over all windows' tokens."""
    total, count = 0.0, len(ids) // window
    for index in range(count):
        part = ids[index * window : (index + 1) * window][None]
        with torch.no_grad():
            scores = torch.log_softmax(model(input_ids=part).logits[0].double(), -1)
        losses = [-float(scores[place, part[0, place + 1]]) for place in range(window - 1)]
        total += sum(losses) / len(losses) * window
    return math.exp(total / (count * window))


@pytest.mark.parametrize(("length", "window"), [(50, 8), (48, 16), (17, 16), (33, 2), (64, 64)])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_it_is_the_published_protocol(length: int, window: int, batch_size: int):
    model, ids = decoder(), torch.randint(0, 50, (length,))
    result = perplexity(model, ids, window=window, batch_size=batch_size)
    assert result.perplexity == pytest.approx(by_hand(model, ids, window), rel=1e-5)
    assert result.windows == length // window
    assert result.scored_tokens == result.windows * (window - 1)
    assert result.dropped_tokens == length % window
    assert result.bits_per_byte is None


def test_long_windows_are_scored_in_chunks_to_the_same_result():
    model, ids = decoder(max_position_embeddings=1024), torch.randint(0, 50, (1024,))
    result = perplexity(model, ids, window=1024)
    with torch.no_grad():
        logits = model(input_ids=ids[None]).logits[0, :-1]
    assert result.loss == pytest.approx(float(torch.nn.functional.cross_entropy(logits, ids[1:])), rel=1e-5)


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary_and_its_bits_per_byte():
    model = decoder()
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    result = perplexity(model, torch.randint(0, 50, (40,)), window=10, bytes_per_token=2.0)
    assert result.perplexity == pytest.approx(50, rel=1e-6)
    assert result.bits_per_byte == pytest.approx(math.log2(50) / 2, rel=1e-6)


def test_windows_do_not_see_one_another():
    model, ids = decoder(), torch.randint(0, 50, (32,))
    changed = ids.clone()
    changed[:16] = torch.randint(0, 50, (16,))
    whole = [perplexity(model, each, window=16).loss for each in (ids, changed)]
    first = [perplexity(model, each[:16], window=16).loss for each in (ids, changed)]
    assert 2 * whole[0] - first[0] == pytest.approx(2 * whole[1] - first[1], rel=1e-5)


def test_scoring_a_spiking_model_in_training_changes_nothing_in_it():
    model = spikify(decoder(), reselect_every=1).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert perplexity(model, torch.randint(0, 50, (32,)), window=16).perplexity > 1
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("length", "window"), [(5, 8), (0, 8), (1, 2)])
def test_too_short_a_text_is_refused(length: int, window: int):
    with pytest.raises(DataError, match="too short") as caught:
        perplexity(decoder(), torch.zeros(length, dtype=torch.long), window=window)
    assert str(length) in str(caught.value)
    assert caught.value.fix


def test_a_window_of_one_token_is_called_so():
    with pytest.raises(DataError, match="window of one token"):
        perplexity(decoder(), torch.zeros(8, dtype=torch.long), window=1)


@pytest.mark.parametrize("ids", [torch.full((20,), -100), torch.rand(20), torch.ones(20, dtype=torch.bool)])
def test_numbers_that_are_no_token_ids_are_refused(ids: torch.Tensor):
    with pytest.raises(DataError, match="no token ids"):
        perplexity(decoder(), ids, window=10)
    with pytest.raises(DataError, match="no token ids"):
        window_losses(decoder(), ids, window=10)


def test_foreign_tokens_and_windows_beyond_the_context_are_refused():
    with pytest.raises(ModelError, match="does not know"):
        perplexity(decoder(), torch.full((20,), 50), window=10)
    with pytest.raises(ModelError, match="longer than the model's context"):
        perplexity(decoder(), torch.zeros(200, dtype=torch.long), window=100)


def test_a_hopeless_model_has_infinite_perplexity_and_no_crash():
    model = decoder()
    with torch.no_grad():
        model.lm_head.weight.mul_(1e6)
    assert perplexity(model, torch.randint(0, 50, (32,)), window=16).perplexity == math.inf


def test_they_average_to_the_perplexity_whatever_the_batch():
    model, ids = decoder(), torch.randint(0, 50, (50,))
    one = window_losses(model, ids, window=8, text="t", bytes_per_token=2.0)
    three = window_losses(model, ids, window=8, text="t", bytes_per_token=2.0, batch_size=3)
    assert one.nats == pytest.approx(three.nats, rel=1e-6)
    assert one.text_sha256 == three.text_sha256
    score = perplexity(model, ids, window=8, bytes_per_token=2.0)
    assert (one.loss, one.perplexity, one.bits_per_byte) == pytest.approx(
        (score.loss, score.perplexity, score.bits_per_byte)
    )


def test_a_window_alone_has_the_loss_it_has_among_others():
    model, ids = decoder(), torch.randint(0, 50, (32,))
    whole = window_losses(model, ids, window=8)
    assert window_losses(model, ids[8:16], window=8).nats[0] == pytest.approx(whole.nats[1], rel=1e-6)
    assert window_losses(model, ids[8:16], window=8).text_sha256 != whole.text_sha256


def test_progress_is_told_and_the_record_survives_json():
    told: list[tuple[int, int]] = []
    found = window_losses(
        decoder(),
        torch.randint(0, 50, (50,)),
        window=8,
        batch_size=4,
        on_window=lambda done, of: told.append((done, of)),
    )
    assert told == [(4, 6), (6, 6)]
    assert WindowLosses.from_dict(found.to_dict()) == found


def test_the_mode_of_every_module_is_put_back():
    model = decoder().train()
    model.model.layers[0].eval()
    window_losses(model, torch.randint(0, 50, (16,)), window=8)
    assert model.training
    assert not model.model.layers[0].training
