"""The last save on a disk that is full: a clear message, nothing lost, and the same bits once there is room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from darkit_nb.config.conversions import preset
from darkit_nb.convert import convert_model
from darkit_nb.errors import ModelError
from tests.convert.decoders import decoder
from tests.small_disk import fill, small_disk

IDS = torch.randint(2, 97, (6, 20), generator=torch.Generator().manual_seed(1))
SPEC = preset("darkit", samples=6, sample_length=20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float model with a tokenizer file beside it."""
    path = tmp_path_factory.mktemp("float") / "llama"
    decoder("llama", dtype=torch.float32).save_pretrained(path)
    (path / "tokenizer.json").write_text("{}")
    return path


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, converted without interruption."""
    out = tmp_path_factory.mktemp("whole") / "out"
    convert_model(folder, SPEC, calibration=IDS, out=out)
    return out


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    with small_disk(tmp_path / "disk", "2m") as place:
        yield place


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.mark.parametrize(
    ("room", "many_files"),
    [("none", False), ("half the weights", False), ("the weights alone", False), ("none", True)],
)
def test_a_full_disk_at_the_last_save_loses_nothing(folder, whole, disk, room, many_files, monkeypatch):
    if many_files:
        monkeypatch.setattr("darkit_nb.convert.save.ONE_FILE_BYTES", 1)
    weights = (whole / "model.safetensors").stat().st_size
    pages = -(-weights // 4096) + 4 * many_files
    leave = 4096 * {"none": 0, "half the weights": pages // 2, "the weights alone": pages}[room]
    out, events = disk / "out", []

    def tell(event: dict[str, Any]) -> None:
        events.append(event)
        if sum(each["kind"] == "block" for each in events) == 3:
            fill(disk, leave=leave)

    with pytest.raises(ModelError, match="cannot be written: the disk is full") as caught:
        convert_model(folder, SPEC, calibration=IDS, out=out, on_event=tell)
    error = caught.value
    assert str(disk) in str(error.expected)
    assert "room" in str(error.expected)
    assert "No space left on device" in str(error.received)
    assert "make room" in str(error.fix)
    # Nothing half-made, and every block is there.
    assert sorted(path.name for path in disk.iterdir()) == ["filler", "out.conversion"]
    kept = contents(disk / "out.conversion")
    assert [name for name in kept if name.startswith("block")] == [
        f"block-{index:04}.{kind}" for index in range(3) for kind in ("json", "safetensors")
    ]
    # Full as it is, asking again changes nothing.
    with pytest.raises(ModelError, match="the disk is full"):
        convert_model(folder, SPEC, calibration=IDS, out=out)
    assert contents(disk / "out.conversion") == kept

    (disk / "filler").unlink()
    report = convert_model(folder, SPEC, calibration=IDS, out=out)
    assert all(block.resumed for block in report.blocks)
    assert not (disk / "out.conversion").exists()
    found = {name: value for file in out.glob("*.safetensors") for name, value in load_file(file).items()}
    expected = load_file(whole / "model.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())
    assert (out / "config.json").read_bytes() == (whole / "config.json").read_bytes()
    assert (out / "tokenizer.json").is_file()


def test_blocks_of_a_large_model_take_their_room_once(folder, whole, disk, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("darkit_nb.convert.save.ONE_FILE_BYTES", 1)
    done = 0

    def tell(event: dict[str, Any]) -> None:
        nonlocal done
        done += event["kind"] == "block"
        if done == 3:
            fill(disk, leave=24 * 4096)  # what lies beside the blocks takes 19 pages; copies of the blocks, 12 more

    convert_model(folder, SPEC, calibration=IDS, out=disk / "out", on_event=tell)
    found = {name: value for file in (disk / "out").glob("*.safetensors") for name, value in load_file(file).items()}
    expected = load_file(whole / "model.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_what_a_kill_left_behind_the_save_is_cleared_away(folder, whole, tmp_path):
    out = tmp_path / "out"
    convert_model(folder, SPEC, calibration=IDS, out=out)
    work = tmp_path / "out.conversion"
    work.mkdir()
    (work / "block-0000.json").write_text("{}")
    convert_model(folder, SPEC, calibration=IDS, out=out)
    assert not work.exists()
