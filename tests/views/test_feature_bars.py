"""Bars of features: one scale, outliers in their own colour, and nothing hidden between neighbours."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from darkit_nb.views.feature_bars import feature_bars
from darkit_nb.views.palette import LIGHT

LAYERS = {"flat": [1.0, 2.0, 1.0, 2.0, 2.0], "tall <a>": [2.0] * 599 + [30.0]}


def test_sizes_are_in_medians_and_the_largest_is_named():
    bars = feature_bars(LAYERS)
    assert bars.panels[0][1] == (0.5, 1.0, 0.5, 1.0, 1.0)
    assert max(bars.panels[1][1]) == 15.0
    text = bars.to_text(40)
    assert "tall <a>: the largest of 600 is 15.0 × the median" in text
    assert text.splitlines()[3].endswith("▁█")  # alone among fifteen that share its place
    assert len(text.splitlines()[3]) == 40


def test_an_outlier_has_its_colour_and_stands_higher_than_all_others():
    svg = feature_bars(LAYERS).to_svg(width=400)
    ET.fromstring(svg)  # noqa: S314 - our own
    ordinary, outliers = (
        re.findall(rf'<path d="([MV\d. ]+)" stroke="{colour}"', svg) for colour in (LIGHT.slots[0], LIGHT.slots[1])
    )
    assert len(ordinary) == 2
    assert len(outliers) == 1
    tops = [float(each) for path in ordinary for each in re.findall(r"V([\d.]+)", path)]
    (outlier,) = re.findall(r"V([\d.]+)", outliers[0])
    base = 2 * 122 - 8  # of the second panel
    assert base - float(outlier) > 10 * (base - max(top for top in tops if top < base))
    assert 122 < float(outlier) < base


def test_a_feature_that_never_fires_and_one_panel_do_no_harm():
    bars = feature_bars({"dead": [0.0, 0.0, 0.0, 1.0]})
    assert bars.panels[0][1] == (0.0, 0.0, 0.0, 1.0)
    assert 'alt="dead: the largest of 4 is 1.00 × the median"' in bars._repr_html_()
