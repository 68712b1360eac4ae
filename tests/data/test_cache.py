"""The cache is complete or absent, whatever happens while it is written."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darkit_nb.data.cache import cache_root, fetch, key_of
from darkit_nb.errors import DataError


class Builder:
    """Writes a file and counts how often it was asked to."""

    def __init__(self, content: bytes = b"tokens") -> None:
        self.calls = 0
        self.content = content

    def __call__(self, folder: Path) -> dict[str, Any]:
        self.calls += 1
        (folder / "sub").mkdir()
        (folder / "sub" / "train.npy").write_bytes(self.content)
        return {"count": 3}


def entries(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.is_dir())


def test_built_once(tmp_path: Path) -> None:
    build = Builder()
    for _ in range(3):
        folder, facts = fetch(tmp_path, "key", build)
        assert facts == {"count": 3}
        assert (folder / "sub" / "train.npy").read_bytes() == b"tokens"
    assert build.calls == 1
    assert entries(tmp_path) == ["key"]


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "byte flipped": lambda folder: _flip(folder / "sub" / "train.npy"),
    "cut short": lambda folder: (folder / "sub" / "train.npy").write_bytes(b"tok"),
    "file gone": lambda folder: (folder / "sub" / "train.npy").unlink(),
    "description gone": lambda folder: (folder / "meta.json").unlink(),
    "description torn": lambda folder: (folder / "meta.json").write_text("{"),
    "description of another kind": lambda folder: (folder / "meta.json").write_text("[]"),
    "newer format": lambda folder: (folder / "meta.json").write_text('{"format": 99, "facts": {}, "files": {}}'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_entry_is_built_again(tmp_path: Path, damage: str) -> None:
    build = Builder()
    folder, _ = fetch(tmp_path, "key", build)
    DAMAGES[damage](folder)
    folder, facts = fetch(tmp_path, "key", build)
    assert build.calls == 2
    assert facts == {"count": 3}
    assert (folder / "sub" / "train.npy").read_bytes() == b"tokens"
    assert entries(tmp_path) == ["key"]


def test_damage_in_a_large_file(tmp_path: Path) -> None:
    build = Builder(bytes(9_000_000))
    folder, _ = fetch(tmp_path, "key", build)
    file = folder / "sub" / "train.npy"
    with file.open("r+b") as opened:
        opened.write(b"\1")
    fetch(tmp_path, "key", build)
    assert build.calls == 2


def test_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> dict[str, Any]:
        (folder / "half").write_text("half")
        raise ValueError("broken corpus")

    with pytest.raises(ValueError, match="broken corpus"):
        fetch(tmp_path, "key", fail)
    assert entries(tmp_path) == []


@pytest.mark.parametrize(("code", "said"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "cannot be written")])
def test_disk_errors_are_explained(tmp_path: Path, code: int, said: str) -> None:
    def fail(folder: Path) -> dict[str, Any]:
        raise OSError(code, os.strerror(code))

    with pytest.raises(DataError, match=said) as caught:
        fetch(tmp_path, "key", fail)
    assert "DARKIT_CACHE" in str(caught.value)
    assert entries(tmp_path) == []


def test_other_system_errors_keep_their_name(tmp_path: Path) -> None:
    def fail(folder: Path) -> dict[str, Any]:
        raise ConnectionResetError(errno.ECONNRESET, "the hub hung up")

    with pytest.raises(ConnectionResetError):
        fetch(tmp_path, "key", fail)


def test_cache_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        fetch(tmp_path / "file", "key", Builder())


SLOW = """
import os, sys, time
from pathlib import Path
from darkit_nb.data.cache import fetch

root = Path(sys.argv[1])

def build(folder):
    with (root / "log").open("a") as log:
        log.write("x")
    time.sleep(0.5)
    (folder / "train.npy").write_bytes(b"tokens")
    return {"by": os.getpid()}

print(fetch(root, "key", build)[1]["by"])
"""


def test_two_processes_at_once_build_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLOW, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate(timeout=400)[0].strip() for process in processes]
    assert answers[0] == answers[1] != ""
    assert (tmp_path / "log").read_text() == "x"


def test_two_processes_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where locks do nothing a second build finishes meanwhile; what stands is whole."""
    monkeypatch.setattr("darkit_nb.data.cache.FileLock.acquire", lambda *args, **kwargs: None)
    inner = Builder()

    def build(folder: Path) -> dict[str, Any]:
        fetch(tmp_path, "key", inner)
        return Builder()(folder)

    folder, facts = fetch(tmp_path, "key", build)
    assert (facts, inner.calls) == ({"count": 3}, 1)
    assert fetch(tmp_path, "key", inner)[0] == folder
    assert inner.calls == 1
    assert entries(tmp_path) == ["key"]


KILLED = """
import os, signal, sys
from pathlib import Path
from darkit_nb.data.cache import fetch

def build(folder):
    (folder / "half").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)

fetch(Path(sys.argv[1]), "key", build)
"""


def test_killed_build_is_repeated_and_swept(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False, timeout=400)
    assert done.returncode == -signal.SIGKILL
    left = [tmp_path / name for name in entries(tmp_path)]
    assert left
    for folder in left:
        os.utime(folder, (0, 0))
    fetch(tmp_path, "key", Builder())
    assert entries(tmp_path) == ["key"]


def test_key_depends_on_every_field() -> None:
    assert key_of({"a": 1, "b": None}) == key_of({"b": None, "a": 1})
    assert len({key_of({"a": 1}), key_of({"a": 2}), key_of({"a": "1"}), key_of({"a": 1, "b": 1})}) == 4


def test_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DARKIT_CACHE", str(tmp_path / "env"))
    assert cache_root("~/x") == Path.home() / "x"
    assert cache_root(None) == tmp_path / "env"
    monkeypatch.delenv("DARKIT_CACHE")
    assert cache_root(None) == Path.home() / ".cache" / "darkit-nb"
