"""Snapshots survive a file, refuse a damaged one, and need NumPy only."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from darkit_nb.errors import RunError
from darkit_nb.records.snapshot import LayerSpikes, SpikeSnapshot
from tests.records.snapshots import layer, snapshot


def same(one: LayerSpikes, other: LayerSpikes) -> bool:
    for name, value in vars(one).items():
        if isinstance(value, np.ndarray):
            found = getattr(other, name)
            if value.dtype != found.dtype or not np.array_equal(value, found):
                return False
        elif not name.startswith("_") and getattr(other, name) != value:
            return False
    return True


def test_a_snapshot_survives_its_file(tmp_path: Path):
    plain = layer("b", salient=None, num_steps=1, scale=np.ones((3, 1, 1), np.float32),
                  zero_point=np.zeros((3, 1, 1), np.int32))  # fmt: skip
    before = snapshot(layer("a"), plain)
    path = tmp_path / "spikes.safetensors"
    before.save(path)
    after = SpikeSnapshot.load(path)
    assert (after.text, after.tokens, after.step, after.names) == ("def f(", ("def", " f", "("), 40, ("a", "b"))
    assert all(same(a, b) for a, b in zip(before.layers, after.layers, strict=True))
    assert [entry.name for entry in tmp_path.iterdir()] == ["spikes.safetensors"]


def test_rates_are_shares_of_slots():
    one = layer(tokens=1, features=4, counts=np.array([[0, 3, 20, 0]], np.uint8))
    assert one.steps_per_feature.tolist() == [2, 1, 2, 1]
    assert one.firing_rate == 3 / 6
    assert one.token_rates().tolist() == [0.5]
    assert snapshot(one, tokens=("x",)).firing_rate == 0.5
    assert SpikeSnapshot("", (), None, ()).firing_rate == 0


def test_the_charge_is_what_is_rounded_to_the_count():
    one = layer()
    assert np.array_equal(np.round(one.charge()), one.counts)


def test_heads_spread_over_their_features():
    two = layer(features=4, salient=None, scale=np.array([[[1.0], [2.0]]] * 3, np.float32),
                zero_point=np.zeros((3, 2, 1), np.int32))  # fmt: skip
    assert (two.heads, two.steps, two.cap) == (2, 1, 15)
    assert two.per_feature(two.scale)[0].tolist() == [1, 1, 2, 2]


def test_a_missing_layer_is_an_error_that_names_a_near_one():
    with pytest.raises(RunError, match=r"model\.layers\.1\.mlp\.up_proj"):
        snapshot().layer("model.layers.1.mlp.up")


def test_a_damaged_file_says_so(tmp_path: Path):
    path = tmp_path / "spikes.safetensors"
    with pytest.raises(RunError, match=r"spikes\.safetensors is not a readable spike snapshot"):
        SpikeSnapshot.load(path)
    snapshot().save(path)
    whole = path.read_bytes()
    for broken in (whole[: len(whole) // 2], whole[:5], b"", whole[:-1] + b"xx"):
        path.write_bytes(broken)
        with pytest.raises(RunError, match="probe the text again"):
            SpikeSnapshot.load(path)


def rewrite(path: Path, change) -> None:
    """The file of a snapshot with its facts and arrays changed."""
    facts = {"schema": 1, "text": "ab", "tokens": ["a", "b"], "step": None, "layers": []}
    arrays = {"0.counts": np.zeros((2, 4), np.uint8)}
    change(facts, arrays)
    save_file(arrays, path, metadata={"darkit_spikes": json.dumps(facts)})


def test_a_newer_file_asks_for_an_upgrade(tmp_path: Path):
    path = tmp_path / "spikes.safetensors"
    rewrite(path, lambda facts, arrays: facts.update(schema=2))
    with pytest.raises(RunError, match=r"(?s)newer version.*schema 2.*upgrade"):
        SpikeSnapshot.load(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda facts, arrays: facts.pop("tokens"),
        lambda facts, arrays: facts.update(layers=[{"name": "a"}]),
        lambda facts, arrays: facts.update(layers=3),
        lambda facts, arrays: facts.clear(),
    ],
)
def test_missing_facts_are_damage(tmp_path: Path, change):
    path = tmp_path / "spikes.safetensors"
    rewrite(path, change)
    with pytest.raises(RunError, match="not a readable spike snapshot"):
        SpikeSnapshot.load(path)


def test_arrays_that_do_not_fit_the_tokens_are_damage(tmp_path: Path):
    path = tmp_path / "spikes.safetensors"
    for one in (layer(tokens=2), layer(salient=np.ones(5, bool)), layer(membrane=np.zeros((3, 5), np.float16))):
        snapshot(one).save(path)
        with pytest.raises(RunError, match=r"model\.layers\.0\.mlp\.up_proj"):
            SpikeSnapshot.load(path)


def test_another_safetensors_file_is_no_snapshot(tmp_path: Path):
    path = tmp_path / "model.safetensors"
    save_file({"weight": np.zeros(3)}, path)
    with pytest.raises(RunError, match="without spikes in its metadata"):
        SpikeSnapshot.load(path)


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path):
    with pytest.raises(RunError, match="could not be written"):
        snapshot().save(tmp_path / "absent" / "spikes.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_numpy_and_safetensors_are_enough():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'pydantic', 'ipywidgets', 'transformers', 'pandas']));"
        "import darkit_nb.records.snapshot"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
