"""A metrics record as one line."""

from __future__ import annotations

from darkit_nb.views import metrics_line


def test_training_shows_what_a_reader_looks_for_and_leaves_out_what_is_not_there():
    record = {"kind": "train", "step": 12, "loss": 1.23456, "learning_rate": 0.003, "grad_norm": None}
    assert (
        metrics_line(record | {"tokens_per_s": 12345.6}) == "step 12  train  loss 1.2346  lr 3.00e-03  12.3 k tokens/s"
    )


def test_evaluation_and_spikes():
    line = metrics_line({"kind": "evaluation", "step": 5, "loss": 1.0, "perplexity": 2.71828, "bits_per_byte": 1.4427})
    assert line == "step 5  evaluation  loss 1.0000  perplexity 2.718  1.443 bits per byte"
    line = metrics_line({"kind": "spikes", "step": 5, "firing_rate": 0.25, "ac_unary": 2_500_000, "layers": []})
    assert line == "step 5  spikes  fires 25.0 %  2.50 M AC unary"


def test_an_unknown_kind_shows_its_numbers():
    assert metrics_line({"kind": "weather", "step": 1, "rain": 3.0, "place": "here", "wet": True}) == (
        "step 1  weather  rain 3.00"
    )
    assert metrics_line({"loss": 2}) == "metrics  loss 2"
