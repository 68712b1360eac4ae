"""`text:<path>`: what is read, what is refused, and how it is said."""

from __future__ import annotations

import gzip
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darkit_nb.data.corpus import Corpus, open_corpus
from darkit_nb.errors import DataError

Open = Callable[..., Corpus]


@pytest.fixture
def opened(settings: Any) -> Open:
    return lambda path, **more: open_corpus(settings(dataset=f"text:{path}", **more))


def texts(corpus: Corpus) -> list[str]:
    return [document.text for document in corpus.train()]


def test_file_plain_and_compressed(opened: Open, tmp_path: Path) -> None:
    content = "\ufeffErste Zeile\r\nzweite: ß漢\n".encode()
    (tmp_path / "a.txt").write_bytes(content)
    (tmp_path / "a.txt.xz").write_bytes(lzma.compress(content))
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(content))
    for name in ("a.txt", "a.txt.xz", "a.txt.gz"):
        assert texts(opened(tmp_path / name)) == ["Erste Zeile\nzweite: ß漢\n"]


def test_folder_is_a_document_per_file(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".git").mkdir()
    for name in ("a.txt", "sub/b.md", ".git/c", ".hidden"):
        (tmp_path / name).write_text(name)
    (tmp_path / "blank.txt").write_text(" \n")
    assert sorted(texts(opened(tmp_path))) == ["a.txt", "sub/b.md"]
    assert texts(opened(tmp_path)) == texts(opened(tmp_path))


def test_pattern(opened: Open, tmp_path: Path) -> None:
    for name in ("a.txt", "b.md", "sub/c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert texts(opened(tmp_path / "*.txt")) == ["a.txt"]
    assert sorted(texts(opened(tmp_path / "**" / "*.txt"))) == ["a.txt", "sub/c.txt"]
    with pytest.raises(DataError, match="There is no file or folder"):
        opened(tmp_path / "*.rst")


def test_the_same_content_elsewhere_is_the_same_corpus(opened: Open, tmp_path: Path) -> None:
    for place in ("here", "there"):
        for name in "abcdef":
            (tmp_path / place / "sub").mkdir(parents=True, exist_ok=True)
            (tmp_path / place / "sub" / name).write_text(name)
    here, there = (opened(tmp_path / place) for place in ("here", "there"))
    assert here.fingerprint == there.fingerprint
    assert texts(here) == texts(there)


@pytest.mark.parametrize("streaming", [False, True])
def test_fingerprint_follows_the_content(opened: Open, tmp_path: Path, streaming: bool) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one")
    first = opened(tmp_path, streaming=streaming).fingerprint
    assert opened(tmp_path, streaming=streaming).fingerprint == first
    file.write_text("two")
    os.utime(file, ns=(1, 1))
    assert opened(tmp_path, streaming=streaming).fingerprint != first


@pytest.mark.parametrize("size", [1, 1 << 20, (1 << 20) + 1, 5_000_000])
def test_streamed_blocks_make_up_the_file(opened: Open, tmp_path: Path, size: int) -> None:
    whole = ("äé line of text\r\n" * (size // 16 + 1))[:size].rstrip("\r") + "x"
    (tmp_path / "a.txt").write_text(whole, newline="")
    blocks = texts(opened(tmp_path / "a.txt", streaming=True))
    assert "".join(blocks) == whole.replace("\r\n", "\n")
    assert all(block.endswith("\n") for block in blocks[:-1])
    assert max(map(len, blocks)) < 3 << 20


@pytest.mark.parametrize("streaming", [False, True])
def test_line_end_across_two_blocks(opened: Open, tmp_path: Path, streaming: bool) -> None:
    start = "x" * ((1 << 20) - 1)
    (tmp_path / "a.txt").write_bytes(f"{start}\r\ny\r".encode())
    assert "".join(texts(opened(tmp_path / "a.txt", streaming=streaming))) == f"{start}\ny\r"


def test_streamed_file_without_lines_is_cut(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x" * 5_000_000)
    blocks = texts(opened(tmp_path / "a.txt", streaming=True))
    assert sum(map(len, blocks)) == 5_000_000
    assert len(blocks) > 1


def test_missing_path(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no file or folder") as caught:
        opened(tmp_path / "absent.txt")
    assert str(tmp_path / "absent.txt") in str(caught.value)


def test_empty_folder(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no file"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"text\0more", "NUL bytes"), (b"caf\xe9 au lait", "byte 0xe9"), (b"cut short \xc3", "byte 0xc3")],
)
def test_binary_file(opened: Open, tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(DataError, match="is not text") as caught:
        texts(opened(tmp_path / "a.bin"))
    assert said in str(caught.value)
    assert "iconv" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.xz", b"no xz"),
        ("a.gz", b"no gz"),
        ("a.xz", lzma.compress(b"text" * 99)[:-9]),
        ("a.gz", gzip.compress(b"t", mtime=0)[:9]),  # a time in a test's name differs between processes
    ],
)
def test_damaged_archive(opened: Open, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        texts(opened(tmp_path / name))


def test_unreadable_file(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("secret")
    plain = Path.open

    def denied(self: Path, *args: Any, **kwargs: Any) -> Any:
        if self.name == "a.txt":
            raise PermissionError(13, "Permission denied", str(self))
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(DataError, match="cannot be read") as caught:
        opened(tmp_path / "a.txt")
    assert "Permission denied" in str(caught.value)


def test_unreadable_folder_inside(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.txt").write_text("text")
    plain = os.scandir

    def denied(path: str) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return plain(path)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(DataError, match="closed' cannot be read"):
        opened(tmp_path)


def test_path_left_out(opened: Open) -> None:
    with pytest.raises(DataError, match="incomplete"):
        opened("")
