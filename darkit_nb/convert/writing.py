"""Files and folders that are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from darkit_nb.errors import ModelError
from darkit_nb.runs.conversion_files import WRITING, own_folders, partial_folder

_DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
"""As the format calls them."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_whole(path: Path, pieces: Iterable[bytes | memoryview], size: int) -> None:
    """Write a file so that it is whole or absent, whatever happens.

    Args:
        path: of the file.
        pieces: what it holds, one behind the other.
        size: bytes of all together, for the message.

    Raises:
        ModelError: the disk is full, or the folder cannot be written to.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as stream:
            for piece in pieces:
                stream.write(piece)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        raise disk_error(path, size, error) from error


def disk_error(path: Path, size: int | None, error: OSError) -> ModelError:
    """What is said when something cannot be written.

    Args:
        path: of what was to be.
        size: its bytes, where they are known.
        error: what the system said.
    """
    full = error.errno in _FULL
    said = error.strerror or str(error)
    return ModelError(
        f"{path.name} cannot be written" + (": the disk is full." if full else "."),
        expected=f"{'' if size is None else f'{size / 1e6:.3g} MB of '}room in {path.parent}",
        received=f"{said}, {_free_bytes(path) / 1e6:.3g} MB free" if full else said,
        cause="other files fill the disk or the quota" if full else None,
        fix="make room and convert again with the same settings: it goes on behind the last finished block"
        if full
        else "choose another folder with out=…",
    )


def _free_bytes(path: Path) -> int:
    there = next(folder for folder in path.absolute().parents if folder.is_dir())
    return shutil.disk_usage(there).free


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> int:
    """A safetensors file, whole or absent; returns its bytes.

    Tensors go to the file one at a time, so none exists twice: the library's own writer wants all of them as bytes, or
    meets a full disk with an error that is no `OSError`.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    begin = 0
    # Wide numbers first: all are aligned.
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    for name in order:
        tensor = tensors[name]
        end = begin + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    size = 8 + len(text) + begin
    write_whole(path, chain((len(text).to_bytes(8, "little"), text), (_raw(tensors[name]) for name in order)), size)
    return size


def _raw(tensor: Tensor) -> memoryview:
    """The numbers of a tensor as they lie in memory."""
    return memoryview(cast(Any, tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()))


def write_json(path: Path, value: Any) -> None:
    """A JSON file, whole or absent."""
    data = json.dumps(value, indent=1).encode()
    write_whole(path, (data,), len(data))


@contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `out` when the block has ended and is gone when it fails.

    Args:
        out: folder that is not there yet, or empty.

    Raises:
        ModelError: the disk is full or not writable, or the folder for what is written is somebody else's.
    """
    partial = partial_folder(out)
    clear(partial, out)
    try:
        partial.mkdir(parents=True)
        (partial / WRITING).touch()
        yield partial
        partial.replace(out)
        (out / WRITING).unlink()
    except OSError as error:
        raise disk_error(out, None, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def clear(folder: Path, out: Path) -> None:
    """Remove what an earlier start of the conversion to `out` left in a folder beside it.

    Raises:
        ModelError: no conversion made that folder, or it cannot be removed.
    """
    refuse_foreign(folder, out)
    try:
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise disk_error(folder, None, error) from error


def refuse_foreign(folder: Path, out: Path) -> None:
    """Refuse to use a folder beside `out` that no conversion made.

    Raises:
        ModelError: it holds something else.
    """
    if folder.exists() and folder not in own_folders(out):
        raise ModelError(
            f"{folder} holds something else.",
            expected="a name that is free: a conversion keeps there what is not finished",
            received="a folder that no conversion made" if folder.is_dir() else "a file",
            fix="choose another folder with out=…, or move that one away; nothing was touched",
        )
