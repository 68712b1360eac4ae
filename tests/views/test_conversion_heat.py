"""The map of layers: the worst layer is darkest, missing layers stay empty, text and picture agree."""

from __future__ import annotations

import dataclasses
import json

from darkit_nb.views.conversion_heat import layer_map
from tests.records.conversions import KINDS, block


def test_blocks_stand_below_one_another_and_kinds_side_by_side():
    found = layer_map([block(0), block(1)])
    assert found.blocks == ("model.layers.0", "model.layers.1")
    assert found.kinds == tuple(kind for kind, *_ in KINDS)
    assert found.totals == (0.004, 0.008)
    shares = [found.share(value) for row in found.errors for value in row]
    assert max(shares) == found.share(found.errors[1][6]) == 1.0
    assert min(shares) == found.share(found.errors[0][0]) == 0.0


def test_a_layer_that_a_block_lacks_is_left_empty():
    short = dataclasses.replace(block(1), layers=block(1).layers[:-1])
    found = layer_map([block(0), short])
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["errors"][1][6] is None
    assert data["shares"][1][6] is None
    assert "<td></td>" in found.to_html()
    assert "down" in found.to_text(100)


def test_names_are_escaped_and_no_blocks_make_an_empty_map():
    assert "&lt;b&gt;" in layer_map([block(0, name="<b>")]).to_html()
    assert layer_map([]).to_dict()["errors"] == []


def test_equal_errors_have_one_colour():
    flat = dataclasses.replace(block(0), layers=tuple(dataclasses.replace(x, error=0.5) for x in block(0).layers))
    assert {layer_map([flat]).share(0.5)} == {0.0}
