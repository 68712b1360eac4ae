"""Archives that arrive piece by piece, and what can go wrong on their way."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from darkit_nb.errors import RunError
from darkit_nb.widgets import archive_upload
from darkit_nb.widgets.archive_import import ArchiveImport
from darkit_nb.widgets.archive_upload import ArchiveUpload
from tests.runs.test_importing import MODEL, tensor_file, zip_of


class Listener:
    def __init__(self) -> None:
        self.states: list[dict[str, Any] | None] = []

    def __call__(self, state: dict[str, Any] | None) -> None:
        self.states.append(state)

    @property
    def last(self) -> dict[str, Any]:
        assert self.states[-1] is not None
        return self.states[-1]


def upload(importing: ArchiveImport, content: bytes, runs: Path, name: str = "model.zip") -> None:
    importing.begin("id", name, len(content), str(runs))
    importing.add("id", 0, content)
    importing.wait()


def leftovers(runs: Path) -> list[Path]:
    return [path for path in runs.glob(".*") if path.is_dir()]


def test_the_name_cannot_lead_elsewhere(tmp_path: Path) -> None:
    for name in ("../../evil.zip", "/etc/evil.zip", "a\\b\0c.zip", ".zip"):
        upload = ArchiveUpload(name, 10, tmp_path / "runs")
        assert upload.path.parent.parent == tmp_path / "runs"
        assert upload.path.name.endswith(".zip")
        assert "/" not in upload.path.name
        upload.close()
    assert leftovers(tmp_path / "runs") == []


@pytest.mark.parametrize(
    ("name", "size", "says"),
    [
        ("model.exe", 10, "no archive"),
        ("model.zip", 0, "cannot be uploaded"),
        ("model.zip", 10**15, "cannot be uploaded"),
    ],
)
def test_what_is_refused_before_anything_is_sent(name: str, size: int, says: str, tmp_path: Path) -> None:
    told = Listener()
    ArchiveImport(told).begin("id", name, size, str(tmp_path / "runs"))
    assert told.last["stage"] == "refused"
    assert says in told.last["problem"]["message"]
    assert not (tmp_path / "runs").exists()


def test_more_than_the_disk_holds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not enough disk space"):
        ArchiveUpload("model.zip", 10**13, tmp_path / "runs", max_bytes=10**14)
    assert leftovers(tmp_path / "runs") == []


@pytest.mark.parametrize(("offset", "length"), [(1, 5), (0, 11), (0, 0), (4, 3)])
def test_pieces_must_follow_one_another(offset: int, length: int, tmp_path: Path) -> None:
    upload = ArchiveUpload("model.zip", 10, tmp_path / "runs")
    upload.add(0, b"123")
    with pytest.raises(RunError, match="went wrong on its way"):
        upload.add(offset, bytes(length))
    upload.add(3, b"4567890")
    assert upload.complete
    assert upload.path.read_bytes() == b"1234567890"


def test_a_piece_is_at_most_a_megabyte(tmp_path: Path) -> None:
    upload = ArchiveUpload("model.zip", 2**22, tmp_path / "runs")
    with pytest.raises(RunError, match="went wrong on its way"):
        upload.add(0, bytes(archive_upload.PIECE_BYTES + 1))
    upload.add(0, bytes(archive_upload.PIECE_BYTES))
    assert upload.received == 2**20


def test_old_leftovers_are_swept(tmp_path: Path) -> None:
    old, fresh = tmp_path / "runs" / ".upload-old", tmp_path / "runs" / ".upload-new"
    for folder in (old, fresh):
        folder.mkdir(parents=True)
    os.utime(old, (0, time.time() - archive_upload.STALE_SECONDS - 60))
    ArchiveUpload("model.zip", 10, tmp_path / "runs").close()
    assert leftovers(tmp_path / "runs") == [fresh]


def test_a_refused_archive_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    told = Listener()
    content = zip_of(tmp_path / "bad.zip", {**MODEL, "../evil.json": b"{}"}).read_bytes()
    upload(ArchiveImport(told), content, tmp_path / "runs", "bad.zip")
    assert told.last["stage"] == "refused"
    assert told.last["problem"]["message"] == "bad.zip wants to write outside its folder."
    assert not told.last["may_drop_pickles"]
    assert leftovers(tmp_path / "runs") == []
    upload(ArchiveImport(told), b"no archive at all", tmp_path / "runs")
    assert "model.zip cannot be imported" in told.last["problem"]["message"]
    assert str(tmp_path) not in str(told.last["problem"])


def test_pickles_are_left_out_only_on_request(tmp_path: Path) -> None:
    told = Listener()
    importing = ArchiveImport(told)
    content = zip_of(tmp_path / "old.zip", {**MODEL, "optimizer.pt": b"x"}).read_bytes()
    upload(importing, content, tmp_path / "runs")
    assert told.last["stage"] == "refused"
    assert told.last["may_drop_pickles"]
    importing.start(drop_pickles=True)
    importing.wait()
    assert told.last["stage"] == "done"
    assert "optimizer.pt" in told.last["left_out"]
    assert leftovers(tmp_path / "runs") == []


def test_cancelling_removes_what_came_and_ignores_what_follows(tmp_path: Path) -> None:
    told = Listener()
    importing = ArchiveImport(told)
    content = zip_of(tmp_path / "model.zip", {**MODEL, "model.safetensors": tensor_file(9000)}).read_bytes()
    importing.begin("first", "model.zip", len(content), str(tmp_path / "runs"))
    importing.add("first", 0, content[:100])
    importing.cancel()
    assert told.states[-1] is None
    importing.add("first", 100, content[100:])
    assert told.states[-1] is None
    assert leftovers(tmp_path / "runs") == []
    importing.begin("second", "model.zip", len(content), str(tmp_path / "runs"))
    importing.add("first", 0, content)
    assert told.last["received"] == 0
    importing.add("second", 0, content)
    importing.wait()
    assert told.last["stage"] == "done"


def test_a_broken_transfer_ends_the_upload(tmp_path: Path) -> None:
    told = Listener()
    importing = ArchiveImport(told)
    importing.begin("id", "model.zip", 100, str(tmp_path / "runs"))
    importing.add("id", 50, b"late")
    assert told.last["stage"] == "refused"
    assert leftovers(tmp_path / "runs") == []
