"""Is this really a whole safetensors file? Answered from its header, without torch and without reading the tensors."""

from __future__ import annotations

import json
import struct
from math import prod
from pathlib import Path
from typing import Any

from darkit_nb.errors import RunError

_LARGEST_HEADER_BYTES = 100_000_000
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64,
    "C64": 64,
}  # fmt: skip


def read_header(path: Path) -> dict[str, dict[str, Any]]:
    """Names, types and shapes of the tensors in a safetensors file, checked against the file's size.

    Returns: Tensor name → `{"dtype": …, "shape": […], "data_offsets": [begin, end]}`.

    Raises:
        RunError: the file is truncated, has bytes too many, overlapping tensors, or is something else.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else -1
        if not 2 <= length <= min(_LARGEST_HEADER_BYTES, size - 8):
            raise _bad(path, f"{size} bytes with a header of {length}")
        try:
            header = json.loads(stream.read(length))
            tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
            spans = sorted(_span(entry) for entry in tensors.values())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise _bad(path, f"an unreadable header: {type(error).__name__}: {error}") from None
    end = 0
    for first, last in spans:
        if first != end:
            raise _bad(path, f"tensors that overlap or leave a gap at byte {first}")
        end = last
    if 8 + length + end != size:
        raise _bad(path, f"{size} bytes where the header announces {8 + length + end}")
    return tensors


def _span(entry: dict[str, Any]) -> tuple[int, int]:
    """Byte range of one tensor, after checking that its shape fills it."""
    first, last = entry["data_offsets"]
    shape = entry["shape"]
    if not all(type(number) is int and number >= 0 for number in (first, last, *shape)):
        raise ValueError("sizes that are no whole numbers")
    if prod(shape) * _BITS[entry["dtype"]] != (last - first) * 8:
        raise ValueError(f"{shape} of {entry['dtype']} in {last - first} bytes")
    return first, last


def _bad(path: Path, received: str) -> RunError:
    return RunError(
        f"{path.name} is not a whole safetensors file.",
        expected="a header and exactly the bytes it announces",
        received=received,
        cause="the download or copy was cut off, or the file is something else",
        fix="fetch it again and compare sizes",
    )
