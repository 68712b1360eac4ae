"""The dataset `text:<path>`: a file of UTF-8 text, or every file in a folder."""

from __future__ import annotations

import gzip
import lzma
import os
from codecs import getincrementaldecoder
from collections.abc import Iterator
from glob import glob
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

from darkit_nb.data.corpus import Corpus, Document, Request
from darkit_nb.errors import DataError

_BLOCK_BYTES = 1 << 20


def open_text(request: Request) -> Corpus:
    """Corpus of a file, one document, or of a folder or pattern, one document per file that is not hidden.

    Files may be compressed with xz or gzip. With `streaming` a document is a block of about one mebibyte of lines, so
    that no file has to fit in memory, and a changed file is known by its size and time rather than by its content.

    Raises:
        DataError: the path does not exist, cannot be read, or holds no file.
    """
    identity = blake2b(digest_size=16)
    files = _files(Path(request.argument).expanduser())
    for name, path in files.items():
        identity.update(name.encode() + b"\0")
        if request.settings.streaming:
            stat = path.stat()
            identity.update(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode())
        else:
            _hash_file(path, identity)
    read = _blocks if request.settings.streaming else _whole
    return Corpus(
        request.name,
        f"text-{identity.hexdigest()}",
        lambda: (Document(text) for path in files.values() for text in read(path) if text.strip()),
    )


def _files(root: Path) -> dict[str, Path]:
    """Files by their name below the folder they share, in the order of a hash of it.

    The order is the same wherever the folder lies, and its first files are a fair sample where a limit cuts the corpus.
    """
    try:
        base, found = _find(root)
    except OSError as error:
        raise _unreadable(Path(error.filename or root), error) from error
    if not found:
        raise DataError(
            f"The folder {str(root)!r} holds no file.",
            expected="text files, plain or compressed as .xz or .gz",
            received="an empty folder, or hidden files only",
        )
    named = {path.relative_to(base).as_posix(): path for path in found}
    return {name: named[name] for name in sorted(named, key=lambda name: blake2b(name.encode()).digest())}


def _find(root: Path) -> tuple[Path, list[Path]]:
    if root.is_file():
        return root.parent, [root]
    if root.is_dir():
        return root, list(_walk(root))
    names = glob(str(root), recursive=True)  # noqa: PTH207 - the pattern may be absolute, which Path.glob refuses
    matched = [path for path in map(Path, names) if path.is_file()]
    if not matched:
        raise DataError(
            f"There is no file or folder {str(root)!r}.",
            expected="text:<path> of a text file, of a folder of text files, or a pattern such as text:notes/*.txt",
            received=f"{root.absolute()}, which does not exist",
            cause="a relative path is taken from the folder the command is started in",
            fix="give the full path",
        )
    return Path(os.path.commonpath([path.parent for path in matched])), matched


def _walk(root: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise error

    for folder, folders, names in os.walk(root, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (path for name in names if not name.startswith(".") and (path := Path(folder, name)).is_file())


def _open(path: Path) -> BinaryIO:
    openers = {".xz": lzma.open, ".gz": gzip.open}
    return openers.get(path.suffix.lower(), open)(path, "rb")


def _hash_file(path: Path, identity: blake2b) -> None:
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                identity.update(block)
    except OSError as error:
        raise _unreadable(path, error) from error


def _whole(path: Path) -> Iterator[str]:
    yield "".join(_decoded(path))


def _blocks(path: Path) -> Iterator[str]:
    """Blocks of whole lines; a line longer than a block is cut."""
    rest = ""
    for text in _decoded(path):
        lines, line_break, rest = (rest + text).rpartition("\n")
        if line_break:
            yield lines + line_break
        elif len(rest) > _BLOCK_BYTES:
            yield rest
            rest = ""
    if rest:
        yield rest


def _decoded(path: Path) -> Iterator[str]:
    """Text in blocks: strict UTF-8 without byte order mark, line ends as a single line feed."""
    decoder = getincrementaldecoder("utf-8-sig")()
    held = ""  # a carriage return whose line feed may follow in the next block
    try:
        with _open(path) as file:
            while block := file.read(_BLOCK_BYTES):
                if b"\0" in block:
                    raise _binary(path, "NUL bytes")
                text = held + decoder.decode(block)
                held = "\r" if text.endswith("\r") else ""
                yield text.removesuffix(held).replace("\r\n", "\n")
            yield held + decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise _binary(path, f"byte 0x{error.object[error.start]:02x}, which is not UTF-8 there") from error
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{str(path)!r} cannot be read.",
        expected="a file this user may read; .xz and .gz files whole and undamaged",
        received=f"{type(error).__name__}: {error}",
        fix=f"look at it with `ls -l {path}`",
    )


def _binary(path: Path, found: str) -> DataError:
    return DataError(
        f"{str(path)!r} is not text.",
        expected="UTF-8 text",
        received=f"a file with {found}",
        cause="a binary file, or text in another encoding",
        fix="convert it with `iconv -f <its encoding> -t utf-8`, or move it out of the folder",
    )
