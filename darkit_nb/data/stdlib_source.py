"""The dataset `stdlib`: the source of the Python standard library that runs this process."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

from darkit_nb.data.corpus import Corpus, Document, Request
from darkit_nb.errors import DataError

# Tests, tables, bundled tools and what newer versions of Python no longer carry: bulk that teaches little.
_SKIPPED_FOLDERS = frozenset(
    {
        "test",
        "tests",
        "idlelib",
        "lib2to3",
        "distutils",
        "ensurepip",
        "turtledemo",
        "pydoc_data",
        "encodings",
        "site-packages",
        "dist-packages",
        "__pycache__",
    }
)
# Written when Python was built, hence different on each machine.
_SKIPPED_PREFIXES = ("_sysconfigdata", "_sysconfig_vars", "sitecustomize", "usercustomize")


def open_stdlib(request: Request) -> Corpus:
    """Corpus of the standard library's `.py` files, one document per file.

    The order is that of a hash of the file's path: the same everywhere, and any prefix is a fair sample.

    Raises:
        DataError: this Python carries no source of its library.
    """
    root = Path(sysconfig.get_path("stdlib"))
    files = library_files(root)
    content = blake2b(digest_size=16)
    for path in files:
        content.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    if not files:
        raise DataError(
            "This Python carries no source of its standard library.",
            expected=f".py files under {root}",
            received="none",
            cause="an embedded or stripped Python, or one that keeps its library in a zip archive",
            fix="use an ordinary Python, or train on a text of your own with data.dataset=text:<path>",
        )
    version = f"{sys.implementation.name}-{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    return Corpus(request.name, f"stdlib-{version}-{content.hexdigest()}", lambda: _documents(files))


def library_files(root: Path) -> list[Path]:
    """The files that make up the corpus, in its order."""
    chosen: list[Path] = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in _SKIPPED_FOLDERS and not name.startswith("config-")]
        chosen += [Path(folder, n) for n in names if n.endswith(".py") and not n.startswith(_SKIPPED_PREFIXES)]
    return sorted(chosen, key=lambda path: blake2b(path.relative_to(root).as_posix().encode()).digest())


def _documents(files: list[Path]) -> Iterator[Document]:
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:  # a few library files declare another encoding
            continue
        if text.strip():
            yield Document(text)
