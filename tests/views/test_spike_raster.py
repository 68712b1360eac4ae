"""A raster in letters and as a page: readable, complete, without anything loaded from elsewhere."""

from __future__ import annotations

import base64
import io
import re
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from darkit_nb.errors import RunError
from darkit_nb.records.snapshot import SpikeSnapshot
from darkit_nb.views.spike_raster import (
    NEGATIVE_COLOURS,
    SPIKE_COLOURS,
    colour_table,
    layer_place,
    panels,
    pooled,
    raster_html,
    raster_png,
    spike_raster,
    token_label,
)
from tests.records.snapshots import layer, snapshot


def test_the_terminal_form():
    text = spike_raster(snapshot())
    assert text.splitlines() == [
        "model.layers.0.mlp.up_proj",
        "fires 66.7 % · 6 features, 3 salient with 2 steps · spikes of level 0 … 15",
        "",
        "def ▕ ▁▁▁▂▂▏  55.6 %",
        " ␣f ▕▂▂▃▃▃▃▏  66.7 %",
        "  ( ▕▄▄▄▄▅▄▏  77.8 %",
        "",
        "Each block is one feature: blank is silent, █ is 30 spikes.",
    ]
    assert spike_raster(snapshot(), "model.layers.1.mlp.up_proj").startswith("model.layers.1.mlp.up_proj\n")
    with pytest.raises(RunError, match="no such layer"):
        spike_raster(snapshot(), "lm_head")


def test_wide_layers_and_long_texts_fit_the_terminal():
    wide = layer(tokens=60, features=1000)
    lines = spike_raster(snapshot(wide, tokens=tuple("abcdefghij" * 6)), width=70).splitlines()
    assert max(map(len, lines[3:-1])) <= 70
    assert lines[-3] == "… and 12 more tokens"
    assert "the most of 18 features" in lines[-1]


def test_white_space_and_unfinished_characters_are_visible():
    assert [token_label(token) for token in ("a", " b", "\n\t", "")] == ["a", "␣b", "⏎⇥", "⋯"]


def test_where_a_layer_stands():
    assert layer_place("model.layers.3.mlp.up_proj") == ("Block 3", "mlp.up_proj")
    assert layer_place("transformer.h.11.attn.c_attn") == ("Block 11", "attn.c_attn")
    assert layer_place("lm_head") == ("Outside the blocks", "lm_head")


def test_pooling_keeps_the_strongest_of_either_sign():
    levels = np.zeros((2, 100), np.int8)
    levels[0, 57], levels[1, 99] = 9, -4
    small = pooled(levels, 10)
    assert small.shape == (10, 2)
    assert (small[5, 0], small[9, 1], int(np.abs(small).sum())) == (9, -4, 13)
    assert np.array_equal(pooled(levels, 500), levels.T)


def test_one_panel_for_one_step_and_one_more_for_several():
    assert [(title, cap) for title, _, cap in panels(layer())] == [
        ("All spikes", 30),
        ("Step 1 of 2", 15),
        ("Step 2 of 2", 15),
    ]
    plain = layer(salient=None, scale=np.ones((3, 1, 1), np.float32))
    assert [title for title, _, _ in panels(plain)] == ["All spikes"]


def lightness(colour) -> float:
    red, green, blue = (int(value) for value in colour[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_more_spikes_are_told_by_lightness_alone(theme: str):
    table = colour_table(15, theme)
    assert table[15].tolist() == [0, 0, 0, 0]
    for ramp in (table[16:], table[14::-1]):
        values = [lightness(colour) for colour in ramp]
        falling = values if theme == "light" else values[::-1]
        assert falling == sorted(falling, reverse=True)
        assert min(abs(a - b) for a, b in pairwise(values)) > 3
    assert len(SPIKE_COLOURS[theme]) == len(NEGATIVE_COLOURS[theme])


def test_the_png_holds_the_cells():
    counts = np.array([[0, 15], [3, 0]], np.uint8)
    picture = np.asarray(Image.open(io.BytesIO(raster_png(counts, 15))).convert("RGBA"))
    table = colour_table(15, "light")
    assert np.array_equal(picture, table[counts.T.astype(int) + 15])


def test_the_page_needs_nothing_and_escapes_the_text():
    page = raster_html(snapshot(tokens=("<b>", '"', "&")))
    assert "<script" not in page
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    pictures = re.findall(r"data:image/png;base64,([^\"]+)", page)
    assert len(pictures) == 3
    assert all(Image.open(io.BytesIO(base64.b64decode(each))).size == (3, 6) for each in pictures)
    assert "step 40" in page


def test_a_snapshot_without_layers_says_so():
    empty = SpikeSnapshot("a", ("a",), None, ())
    assert "No layer" in spike_raster(empty)
    assert "No layer" in raster_html(empty)
