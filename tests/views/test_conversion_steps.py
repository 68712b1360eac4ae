"""What a conversion does, in words."""

from __future__ import annotations

import pytest

from darkit_nb.config.conversions import PRESETS, preset
from darkit_nb.views.conversion_steps import bits_about, conversion_steps, steps_view


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_says_what_it_does(name: str):
    steps = conversion_steps(preset(name))
    assert [step.title for step in steps] == ["Listen", "Scale", "Rotate", "Weights", "Spikes", "Train"]
    assert all(step.about for step in steps if step.on)
    assert not any(step.about for step in steps if not step.on)


def found(name: str, title: str, **changes: object) -> str:
    return next(step.value for step in conversion_steps(preset(name, **changes)) if step.title == title)


def test_the_stations_say_how():
    assert found("darkit", "Rotate") == "split, also inside the MLP"
    assert found("darkit", "Spikes") == "Q = 16, 2 radix steps for 12.5 % of the features"
    assert found("rtn", "Spikes") == "Q = 16, one step"
    assert found("rtn", "Scale") == "left out"
    assert found("spikellm-gptq", "Weights") == "ternary spikes, 2 steps for 40 %, 1.4 additions a weight"
    assert found("pb-llm", "Weights") == "one bit, the salient 8 bits, 10 %, 1.7 additions a weight"
    assert found("spikellm-gptq", "Spikes") == "none; activations stay in float"
    assert found("omniquant", "Train") == "20 epochs a block"
    assert found("gptq", "Weights", group_size=64) == "GPTQ, 4 bits, groups of 64"
    assert found("darkit", "Weights") == "GPTQ, 4 bits, clip search, shaped"
    assert found("darkit", "Weights", shaped_rounding=False) == "GPTQ, 4 bits, clip search"


def test_bits_in_a_line():
    assert bits_about(preset("darkit")) == "4-bit weights, 4-bit spikes, 1.125 steps on average"
    assert bits_about(preset("rtn", bits="W4A16")) == "4-bit weights, float activations"
    assert bits_about(preset("spikellm-gptq")) == "weights that are added, never multiplied, float activations"
    assert bits_about(preset("pb-llm")) == "one-bit weights, float activations"


def test_the_stations_as_a_table():
    text = steps_view(preset("darkit"), "stdlib-llama").to_text()
    assert text.splitlines()[0] == "stdlib-llama: darkit W4A4"
    assert "GPTQ, 4 bits, clip search" in text
