"""Writing files that other processes read at the same moment, and that a full disk or a kill must not spoil."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from darkit_nb.errors import RunError
from darkit_nb.runs.workers import CONVERSION_SUFFIX

SCHEMA = 1
_GONE = ".deleted-"
"""What the name of a folder begins with while it is emptied."""
_WITH_IT = "removed-with.json"
"""In such a folder: names, devices and inodes of the folders beside it that go with it."""

_FULL = {errno.ENOSPC, errno.EDQUOT}


def unwritable(path: Path, error: OSError) -> RunError:
    """The error to raise where `path` could not be written."""
    if error.errno in _FULL:
        return RunError(
            f"The disk is full: {path} could not be written, and what was there before is intact.",
            expected="free space where the run lies",
            received=str(error),
            cause="checkpoints, converted models and caches have used it up",
            fix="free some space, or lower checkpoint.keep of a training, then resume: `darkit-nb resume`, "
            "or `darkit-nb conversions resume`",
        )
    return RunError(
        f"{path} cannot be written.",
        expected="a folder this user may write to",
        received=f"{type(error).__name__}: {error}",
        cause="the folder is read-only, is not a folder, or belongs to somebody else",
        fix="choose another folder for the converted model, with out=…"
        if any(folder.name.endswith(CONVERSION_SUFFIX) for folder in (path, path.parent))
        else "choose another folder with runs_dir=…",
    )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an `OSError` into a `RunError` that says whether the disk is full or the place is not writable."""
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from error


def _plain(value: Any) -> Any:
    """Objects JSON does not know: records, numpy numbers and arrays, paths, sets."""
    for method in ("to_dict", "tolist"):
        if hasattr(value, method):
            return getattr(value, method)()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return value


def to_json(record: Mapping[str, Any]) -> str:
    """One line of strict JSON; numbers that are not finite become null and are named under `nonfinite`."""
    try:
        return json.dumps(record, default=_plain, allow_nan=False)
    except ValueError:
        plain = json.loads(json.dumps(record, default=_plain))
    odd = {key: str(value) for key, value in plain.items() if isinstance(value, float) and not math.isfinite(value)}
    return json.dumps({**_finite(plain), "nonfinite": odd}, allow_nan=False)


def from_json(line: str | bytes) -> dict[str, Any]:
    """The record of `to_json`, its non-finite numbers restored.

    Raises:
        ValueError: not one JSON object.
    """
    record = json.loads(line)
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    odd = record.pop("nonfinite", None)
    return {**record, **{key: float(value) for key, value in odd.items()}} if isinstance(odd, dict) else record


def write_atomic(path: Path, text: str, *, mode: int | None = None) -> None:
    """Replace a file as a whole: readers see the old text or the new one, also after a kill or on a full disk.

    Args:
        path: the file.
        text: what it is to hold.
        mode: its permissions, from its first byte on; the user's usual ones by default.

    Raises:
        RunError: the disk is full or the folder not writable; the old file is untouched.
    """

    def created(draft: str, flags: int) -> int:
        return os.open(draft, flags, 0o666 if mode is None else mode)

    with writing(path):
        # One draft per thread: what a killed writer left is overwritten by the next, not added to.
        draft = path.with_name(f".{path.name}.{threading.get_native_id()}")
        try:
            with open(draft, "w", encoding="utf-8", opener=created) as stream:
                if mode is not None:
                    os.chmod(draft, mode)  # noqa: PTH101 - also where a killed writer left a draft
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(path)
        except BaseException:
            with suppress(OSError):
                draft.unlink()
            raise


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Append one record as one line, in a single write.

    A torn line that a killed writer left behind is closed first, so that it cannot swallow this one.

    Raises:
        RunError: the disk is full or the file not writable; earlier lines are untouched.
    """
    data = to_json(record).encode() + b"\n"
    with writing(path):
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        try:
            size = os.fstat(handle).st_size
            if size:
                os.lseek(handle, size - 1, os.SEEK_SET)
                if os.read(handle, 1) != b"\n":
                    data = b"\n" + data
            written = os.write(handle, data)
        finally:
            os.close(handle)
        if written < len(data):
            raise OSError(errno.ENOSPC, f"only {written} of {len(data)} bytes fitted", str(path))


def remove_folder(folder: Path, *with_it: Path) -> None:
    """Remove a folder as a whole: it is gone for readers at once, also after a kill; links in it are not followed.

    What a kill leaves under a hidden name beside it goes with `sweep_removed`, and so do the folders `with_it`.

    Args:
        folder: its removal decides: where it stays, the others stay.
        with_it: folders beside it that go with it.

    Raises:
        RunError: it cannot be renamed, or they cannot be emptied then.
    """
    with writing(folder):
        if with_it:
            known = {path.name: [path.lstat().st_dev, path.lstat().st_ino] for path in with_it}
            write_atomic(folder / _WITH_IT, to_json(known) + "\n")
        folder.rename(_aside(folder))
    sync_folder(folder.parent)
    for path in with_it:
        with writing(path):
            path.rename(_aside(path))
    for path in (*with_it, folder):
        with writing(path):
            shutil.rmtree(_aside(path))


def _aside(folder: Path) -> Path:
    """Where a folder lies while it is emptied. No name ends like this, so nobody takes it for what it was."""
    return folder.with_name(f"{_GONE}{folder.name}~")


def sweep_removed(folder: Path) -> None:
    """Finish the removals in a folder that were killed."""
    for path in folder.glob(f"{_GONE}*"):
        with suppress(OSError, ValueError):
            for name, identity in from_json((path / _WITH_IT).read_bytes()).items():
                left = folder / name
                beside = left.parent == folder and name != ".."
                info = left.lstat() if beside and left.exists() else None
                if info is not None and [info.st_dev, info.st_ino] == identity:  # else made since, by somebody else
                    shutil.rmtree(left, ignore_errors=True)
        shutil.rmtree(path, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder last through a power cut, where the system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
