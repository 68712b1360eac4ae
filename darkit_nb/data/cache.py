"""The token cache: one folder per key, complete or absent, rebuilt when damaged."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from darkit_nb.errors import DataError

FORMAT = 1
_META = "meta.json"
_SAMPLES, _SAMPLE_BYTES = 64, 1 << 16
_LOCK_TIMEOUT_S = 3600
_STALE_S = 86400
_FULL = {errno.ENOSPC, errno.EDQUOT}
_DISK_ERRORS = {*_FULL, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EIO}


def cache_root(cache_dir: str | Path | None) -> Path:
    """Folder of the cache: as configured, else DARKIT_CACHE, else `~/.cache/darkit-nb`."""
    chosen = cache_dir or os.environ.get("DARKIT_CACHE") or Path.home() / ".cache" / "darkit-nb"
    return Path(chosen).expanduser()


def key_of(fields: dict[str, Any]) -> str:
    """Short name of a set of facts: equal exactly when they are."""
    plain = json.dumps(fields | {"format": FORMAT}, sort_keys=True)
    return blake2b(plain.encode(), digest_size=10).hexdigest()


def fetch(root: Path, key: str, build: Callable[[Path], dict[str, Any]]) -> tuple[Path, dict[str, Any]]:
    """Folder and facts stored under `key`, built first where they are missing or damaged.

    Two processes that ask at once build once; where locks do not work both build and the first to finish wins. A build
    that fails leaves nothing behind.

    Args:
        root: Folder that holds the entries.
        key: Name of the entry.
        build: Fills the folder it is given and returns JSON-able facts.

    Raises:
        DataError: the cache cannot be written.
    """
    folder = root / key
    facts = _read(folder)
    if facts is not None:
        return folder, facts
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root / f".{key}.lock"):
            facts = _read(folder)
            return folder, _build(root, folder, build) if facts is None else facts
    except OSError as error:
        if error.errno not in _DISK_ERRORS:  # from reading the corpus
            raise
        raise _unwritable(root, error) from error


def _build(root: Path, folder: Path, build: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    _sweep(root, folder.name)
    draft, aside = (Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=root)) for _ in range(2))
    try:
        facts = build(draft)
        files = {path.relative_to(draft).as_posix(): _stamp(path) for path in draft.rglob("*") if path.is_file()}
        (draft / _META).write_text(json.dumps({"format": FORMAT, "facts": facts, "files": files}, indent=1))
        draft.chmod(0o755)
        try:
            if folder.exists():  # damaged, or finished meanwhile by a process that could not see our lock
                folder.rename(aside / "old")
            draft.rename(folder)
        except OSError:
            if _read(folder) is None:
                raise
        return facts
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)


def _sweep(root: Path, key: str) -> None:
    """Remove what a killed process left behind a day ago or earlier."""
    for draft in root.glob(f".{key}.*"):
        if draft.is_dir() and time.time() - draft.stat().st_mtime > _STALE_S:
            shutil.rmtree(draft, ignore_errors=True)


def _read(folder: Path) -> dict[str, Any] | None:
    """Facts of a complete, undamaged entry; None: it has to be built."""
    try:
        meta = json.loads((folder / _META).read_text())
        intact = all(_stamp(folder / name) == stamp for name, stamp in meta["files"].items())
        return meta["facts"] if intact and meta["format"] == FORMAT else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _stamp(path: Path) -> list[Any]:
    """Size and digest of a file; of one beyond 4 MiB, of 64 blocks spread over it, so that reading stays instant."""
    size = path.stat().st_size
    digest = blake2b(digest_size=16)
    with path.open("rb") as file:
        if size <= _SAMPLES * _SAMPLE_BYTES:
            digest.update(file.read())
        else:
            for sample in range(_SAMPLES):
                file.seek((size - _SAMPLE_BYTES) * sample // (_SAMPLES - 1))
                digest.update(file.read(_SAMPLE_BYTES))
    return [size, digest.hexdigest()]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = FileLock(path)
    # A file system without locks, or a builder that hangs: renaming decides.
    with suppress(NotImplementedError, Timeout):
        lock.acquire(timeout=_LOCK_TIMEOUT_S)
    try:
        yield
    finally:
        lock.release()


def _unwritable(root: Path, error: OSError) -> DataError:
    full = error.errno in _FULL
    return DataError(
        "The disk is full: tokens could not be stored." if full else "The token cache cannot be written.",
        expected=f"a folder that can be written: {root}",
        received=f"{type(error).__name__}: {error}",
        fix="free some space, or name another folder with data.cache_dir or the environment variable DARKIT_CACHE",
    )
