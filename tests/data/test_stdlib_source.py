"""`stdlib`: the library's own source, in an order that is the same everywhere."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from darkit_nb.data.corpus import open_corpus
from darkit_nb.data.stdlib_source import library_files
from darkit_nb.errors import DataError


def test_holds_the_library_and_no_tests(settings: Any) -> None:
    corpus = open_corpus(settings())
    documents = [document.text for document in corpus.train()]
    assert Path(os.__file__).read_text() in documents
    assert 3_000_000 < sum(map(len, documents)) < 30_000_000
    names = {part for path in library_files(Path(sysconfig.get_path("stdlib"))) for part in path.parts[-3:]}
    assert not names & {"test", "idlelib", "site-packages", "__pycache__", "encodings"}
    assert f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}" in corpus.fingerprint


def test_order_depends_on_names_alone(tmp_path: Path) -> None:
    for root in ("first", "second"):
        for name in ("a.py", "b/c.py", "b/d.py", "test/e.py", "_sysconfigdata_x.py", "note.txt"):
            file = tmp_path / root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(root)
    first, second = ([p.relative_to(tmp_path / r) for p in library_files(tmp_path / r)] for r in ("first", "second"))
    assert first == second
    assert {path.as_posix() for path in first} == {"a.py", "b/c.py", "b/d.py"}


def test_skips_what_is_not_utf8(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.py").write_bytes(b"# -*- coding: latin-1 -*-\n# \xe9")
    (tmp_path / "b.py").write_text("b = 1\n")
    (tmp_path / "c.py").write_text("\n")
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    assert [document.text for document in open_corpus(settings()).train()] == ["b = 1\n"]


def test_python_without_source(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(DataError, match="no source of its standard library") as caught:
        open_corpus(settings())
    assert "text:<path>" in str(caught.value)
