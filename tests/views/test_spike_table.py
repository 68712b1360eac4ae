"""The spike table names who fires how much, and fits a terminal."""

from __future__ import annotations

from darkit_nb.views import spike_table, spike_view
from darkit_nb.views.spike_table import role_of
from darkit_nb.views.table import columns_of
from tests.records.reports import layer, report


def test_a_row_holds_the_rates_of_its_layer():
    (row,) = spike_view(report()).rows
    assert row[:4] == ("mlp.up_proj", "75.0 %", "22.5 %", "0.82 of 1.10")
    assert row[5:] == ("5.00", "1.50")  # additions per product: 1600 and 480 over 320


def test_roles_are_summed_over_depth_and_layers_are_not():
    layers = [layer(f"model.layers.{n}.{role}") for n in range(3) for role in ("mlp.up_proj", "self_attn.q_proj")]
    by_role, by_layer = (spike_view(report(*layers), by=by) for by in ("role", "layer"))
    assert [row[0] for row in by_role.rows] == ["mlp.up_proj ×3", "self_attn.q_proj ×3", "all 6 layers"]
    assert len(by_layer.rows) == 7
    assert by_layer.rows[0][0] == "model.layers.0.mlp.up_proj"
    assert by_role.total
    busy = layer("model.layers.0.mlp.up_proj", active_slots=44)
    row = spike_view(report(busy, layer("model.layers.1.mlp.up_proj"))).rows[0]
    assert row[1] == "87.5 %"  # (44 + 33) of 88 slots


def test_the_histogram_shows_where_counts_lie_and_only_for_layers_that_agree():
    bars = spike_view(report()).rows[0][4]
    assert len(bars) == 16
    assert bars[0] == "█"
    assert bars[-1] != " "  # a single top count is still seen
    assert bars[12] == " "
    other = layer("b", histogram=(1, 2, 3))
    assert spike_view(report(layer("a"), other)).rows[-1][4] == ""


def test_lost_counts_and_dead_features_are_said():
    quiet = spike_table(report())
    assert "lost" not in quiet
    assert "never fired" not in quiet
    loud = spike_table(report(layer(lost_counts=1234, dead_features=7)))
    assert "1.23 k counts were lost" in loud
    assert "7 features never fired on these 4 tokens" in loud


def test_the_spike_length_of_the_paper_is_a_mean_over_features():
    layers = [layer("a", spike_length_bits=4.0, code_bits=4.0), layer("b", spike_length_bits=8.0, code_bits=5.0)]
    text = " ".join(spike_table(report(*layers)).split())
    assert "Spike length 6.00 bits a feature, (T/L)·log₂L in SpikeLLM's notation; information 4.50 bits" in text


def test_it_fits_eighty_columns():
    layers = [layer(f"transformer.decoder.blocks.{n}.attention.self.query_key_value_projection") for n in range(40)]
    for by in ("role", "layer"):
        assert max(map(columns_of, spike_table(report(*layers), by=by).splitlines())) <= 80


def test_role_of():
    assert role_of("model.layers.11.self_attn.q_proj") == "self_attn.q_proj"
    assert role_of("lm_head") == "lm_head"
    assert role_of("blocks.3") == "blocks.3"
