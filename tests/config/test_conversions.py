"""Presets fill specs, and say so where they cannot."""

from __future__ import annotations

import subprocess
import sys

import pytest

from darkit_nb.config.conversions import BITS, PRESETS, preset
from darkit_nb.errors import ConfigError
from darkit_nb.records.spike_spec import SpikeSpec


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("bits", [bits for bits in BITS if bits != "ternary"])
def test_every_preset_exists_at_every_width(name, bits):
    spec = preset(name, bits=bits)
    assert spec.pipeline == name
    weights, activations = bits[1:].split("A")
    if name not in ("pb-llm", "spikellm-gptq"):
        assert spec.weight_bits == int(weights)
    assert (spec.spike is None) == (activations == "16")
    assert spec.activation_bits == int(activations)


def test_the_paper_and_its_codes():
    spike = preset("spikellm-omniquant", paper_codes=True).spike
    assert spike is not None
    assert (spike.coding, spike.num_steps, spike.salient_fraction, spike.saliency) == ("paper", 2, 0.1, "energy")


def test_ternary_where_it_has_a_form():
    assert preset("spikellm-gptq").weights == "ternary"
    assert preset("spikellm-gptq").spike is None
    assert preset("pb-llm") == preset("pb-llm", bits="ternary")
    assert preset("darkit", bits="ternary").weights == "trit_planes"
    assert preset("gptq", bits="ternary").weight_steps == 1
    with pytest.raises(ConfigError, match="no additive form"):
        preset("omniquant", bits="ternary")


def test_changes_reach_both_levels():
    spec = preset("darkit", group_size=64, spike={"coding": "rate", "attention": True})
    assert spec.group_size == 64
    assert spec.spike is not None
    assert spec.spike.coding == "rate"
    assert spec.spike.attention
    assert spec.spike.ranges == "own"
    assert preset("rtn", spike=SpikeSpec(num_levels=8)).activation_bits == 3


def test_without_spikes_there_is_nothing_to_split():
    assert preset("darkit", bits="W2A16").rotation == "hadamard"


def test_a_misspelt_preset_is_guessed():
    with pytest.raises(ConfigError) as caught:
        preset("darkitt")
    assert caught.value.fix == "did you mean 'darkit'?"


@pytest.mark.parametrize("bits", ["w4a4", "W1A4", "W4A9", "4"])
def test_unknown_bits_are_refused(bits):
    with pytest.raises(ConfigError, match="not understood"):
        preset("rtn", bits=bits)


def test_an_unknown_field_is_named():
    with pytest.raises(ConfigError) as caught:
        preset("rtn", sample=3)
    assert caught.value.received == "sample"


def test_presets_load_no_torch():
    code = "import sys, darkit_nb.config.conversions; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
