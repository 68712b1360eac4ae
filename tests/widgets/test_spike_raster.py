"""The raster's traits, headless: one layer crosses the wire, the chosen layer stays, errors come with their fix."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from darkit_nb.errors import RunError
from darkit_nb.widgets import SpikeRaster
from tests.records.snapshots import layer, snapshot

UP, NEXT = "model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj"


def test_the_first_layer_is_shown_and_only_one_crosses_the_wire():
    raster = SpikeRaster(snapshot())
    assert raster.layer == UP
    assert [(each["name"], each["block"], each["role"]) for each in raster.layers] == [
        (UP, "Block 0", "mlp.up_proj"),
        (NEXT, "Block 1", "mlp.up_proj"),
    ]
    assert raster.tokens == ["def", "␣f", "("]
    picture = raster.picture
    own = raster.source.layer(UP)
    assert np.array_equal(np.frombuffer(picture["counts"], picture["dtype"]).reshape(3, 6), own.counts)
    assert np.array_equal(np.frombuffer(picture["membrane"], np.float16).reshape(3, 6), own.membrane)
    assert np.frombuffer(picture["salient"], np.uint8).tolist() == [1, 0, 1, 0, 1, 0]
    assert len(picture["scale"]) == len(picture["zero"]) == 4 * 3 * 1 * 2


def test_another_layer_is_a_trait_away():
    raster = SpikeRaster(snapshot())
    heard = []
    raster.observe(lambda change: heard.append(change["new"]), "layer")
    raster.layer = NEXT
    assert raster.picture["name"] == NEXT
    assert heard == [NEXT]
    with pytest.raises(RunError, match="no such layer"):
        raster.layer = "model.layers.7"
    assert raster.layer == NEXT


def test_the_layer_stays_when_another_text_has_it():
    raster = SpikeRaster(snapshot())
    raster.layer = NEXT
    raster.show(snapshot(tokens=("a", "b", "c")))
    assert (raster.layer, raster.picture["name"], raster.sentence) == (NEXT, NEXT, "abc")
    raster.show(snapshot(layer("other")))
    assert (raster.layer, raster.picture["name"]) == ("other", "other")


def test_a_layer_may_be_chosen_before_there_is_a_text():
    raster = SpikeRaster()
    raster.layer = NEXT
    raster.show(snapshot())
    assert raster.picture["name"] == NEXT


def test_text_and_static_picture():
    assert "nothing to show yet" in SpikeRaster().text()
    raster = SpikeRaster(snapshot())
    raster.layer = NEXT
    assert raster.text().startswith(NEXT)
    assert NEXT in raster.snapshot()
    assert "data:image/png" in raster.snapshot()


def test_a_sentence_without_a_run_is_an_error_in_the_widget():
    raster = SpikeRaster(snapshot())
    raster._receive(None, {"do": "probe", "text": "x"}, [])
    assert "no run" in raster.problem["message"]
    assert raster.problem["fix"]


def test_seeing_spikes_needs_neither_torch_nor_transformers(tmp_path: Path):
    snapshot().save(tmp_path / "a.safetensors")
    code = (
        "import sys; from darkit_nb.widgets import SpikeRaster;"
        "from darkit_nb.records.snapshot import SpikeSnapshot;"
        f"SpikeRaster(SpikeSnapshot.load({str(tmp_path / 'a.safetensors')!r})).snapshot();"
        "assert not {'torch', 'transformers', 'datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
