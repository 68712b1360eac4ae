"""The effect of an edit as rows and text."""

from __future__ import annotations

from darkit_nb.views.effect_table import effect_measures, effect_view

EFFECT = {
    "tokens": 2048,
    "before": {"loss": 4.0, "firing_rate": 0.2, "energy_pj": 2.5e6, "tokens_per_s": 1000.0},
    "after": {"loss": 3.9, "firing_rate": 0.1, "energy_pj": 3.0e6, "tokens_per_s": 1010.0},
    "largest_change": 0.5,
    "mean_change": 0.01,
}


def test_rows_say_what_is_better_and_what_is_noise():
    rows = {each.name: (each.before, each.after, each.change, each.better) for each in effect_measures(EFFECT)}
    assert rows == {
        "loss": ("4.000", "3.900", "−2.5%", True),
        "firing rate": ("20.0 %", "10.0 %", "−50.0%", None),
        "energy/token, simulated": ("2.50 µJ", "3.00 µJ", "+20.0%", False),
        "tokens/s": ("1.00 k", "1.01 k", "+1.0%", None),
    }


def test_what_was_measured_on_one_side_only_is_left_out():
    half = {**EFFECT, "after": {"loss": 4.0}}
    assert [(each.name, each.change, each.better) for each in effect_measures(half)] == [("loss", "same", None)]


def test_text():
    text = effect_view(EFFECT).to_text()
    assert "Effect of the edit on 2.05 k tokens" in text
    assert "Outputs change by 0.0100 on average, 0.500 at most." in text
