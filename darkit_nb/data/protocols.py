"""The texts of the published perplexity tables, cut into windows exactly as there.

    wikitext-2   all rows of the raw test split joined by two newlines, tokenised at once, windows one after the other
    c4           256 windows of validation shard 0: random.seed(0); draw documents until one is long enough, then a
                 place in it. The older protocol: OmniQuant, SpikeLLM, DuQuant
    c4-new       its first 1 100 documents joined by spaces, the first 256 windows: QuaRot, FlatQuant

Tables of the two C4 protocols cannot be compared with one another. Rows come from `$DARKIT_DATA/datasets` (the names
below), else from the hub's cache.

Source: the data loaders of GPTQ (Frantar et al. 2022), which the tables since have kept.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from darkit_nb.data.mirror import absent, find_mirrored
from darkit_nb.errors import DataError

Protocol = Literal["wikitext-2", "c4", "c4-new"]
PROTOCOLS: tuple[Protocol, ...] = ("wikitext-2", "c4", "c4-new")
WINDOW = 2048
C4_WINDOWS, C4_DOCUMENTS = 256, 1100

Encode = Callable[[str], Sequence[int]]


@dataclass(frozen=True)
class _Rows:
    """Where rows of text lie.

    Attributes:
        folders: names below the mirror folder's `datasets`.
        files: patterns of the file, the first one that fits counts.
        hub: arguments of `datasets.load_dataset`.
    """

    folders: tuple[str, ...]
    files: tuple[str, ...]
    hub: dict[str, Any]


_WIKITEXT = _Rows(
    ("wikitext-2-raw", "wikitext-2-raw-v1", "Salesforce/wikitext/wikitext-2-raw-v1"),
    ("test.parquet", "test-*.parquet", "test.jsonl", "test.txt", "wiki.test.raw"),
    {"path": "Salesforce/wikitext", "name": "wikitext-2-raw-v1", "split": "test"},
)
_C4 = _Rows(
    ("c4", "allenai/c4", "allenai/c4/en"),
    ("c4-validation.00000-of-00008.json.gz", "validation*.jsonl.gz", "validation*.jsonl", "validation*.parquet"),
    {
        "path": "allenai/c4",
        "data_files": {"validation": "en/c4-validation.00000-of-00008.json.gz"},
        "split": "validation",
    },
)


@dataclass(frozen=True, eq=False)
class ProtocolText:
    """Windows to score.

    Attributes:
        name: the protocol.
        windows: int64 `[windows, window]`.
        bytes_per_token: UTF-8 bytes of the text they were cut from, per token.
    """

    name: Protocol
    windows: npt.NDArray[np.int64]
    bytes_per_token: float


def protocol_text(name: Protocol, encode: Encode, *, window: int = WINDOW) -> ProtocolText:
    """The windows of a published protocol.

    Args:
        name: one of `PROTOCOLS`.
        encode: text to token ids, special tokens as the tokenizer puts them: one at the very start for Llama's.
        window: tokens per window; the tables have 2 048.

    Raises:
        DataError: no such protocol; its text is not here and cannot be had; or it is too short for one window.
    """
    if name not in PROTOCOLS:
        raise DataError("There is no such protocol.", expected=", ".join(PROTOCOLS), received=repr(name))
    if name == "wikitext-2":
        return _whole(name, "\n\n".join(_rows(_WIKITEXT)), encode, window)
    rows = _rows(_C4)
    if name == "c4-new":
        return _whole(name, " ".join(rows[:C4_DOCUMENTS]), encode, window, most=C4_WINDOWS)
    return _drawn(rows, encode, window)


def _whole(name: Protocol, text: str, encode: Encode, window: int, most: int | None = None) -> ProtocolText:
    ids = np.asarray(encode(text), dtype=np.int64)
    count = len(ids) // window
    if count == 0:
        raise _too_short(name, f"{len(ids)} tokens", window)
    kept = ids[: count * window].reshape(count, window)[:most]
    return ProtocolText(name, kept, len(text.encode()) / len(ids))


def _drawn(rows: Sequence[str], encode: Encode, window: int) -> ProtocolText:
    draw = random.Random(0)
    known: dict[int, npt.NDArray[np.int64]] = {}
    windows, num_bytes, num_tokens = [], 0, 0
    while len(windows) < C4_WINDOWS:
        index = draw.randint(0, len(rows) - 1)
        if index not in known:
            known[index] = np.asarray(encode(rows[index]), dtype=np.int64)
            if len(known) == len(rows) and max(map(len, known.values())) <= window:
                raise _too_short("c4", f"{len(rows)} documents, none of them longer", window)
        ids = known[index]
        if len(ids) <= window:
            continue  # the published loop takes an equal length too, and then fails to draw a place in it
        start = draw.randint(0, len(ids) - window - 1)
        windows.append(ids[start : start + window])
        num_bytes, num_tokens = num_bytes + len(rows[index].encode()), num_tokens + len(ids)
    return ProtocolText("c4", np.stack(windows), num_bytes / num_tokens)


def _too_short(name: str, received: str, window: int) -> DataError:
    return DataError(
        f"The text of {name} is too short.",
        expected=f"documents that fill a window of {window} tokens",
        received=received,
        cause="the file in the mirror folder is a part of the published one",
    )


def _rows(where: _Rows) -> list[str]:
    """Texts of all rows, in order; lines of a text file as the hub's loader gives them, empty where blank."""
    folder = find_mirrored("dataset", *where.folders)
    if folder is None:
        return _from_hub(where)
    file = next((path for pattern in where.files for path in sorted(folder.glob(pattern))), None)
    if file is None:
        raise DataError(
            f"{folder} lacks the split that is scored.",
            expected=" or ".join(where.files),
            received=", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "an empty folder",
        )
    if file.suffix in (".txt", ".raw"):
        with file.open(encoding="utf-8", newline="\n") as lines:
            return [line if line.strip() else "" for line in lines]
    return _from_file(file)


def _from_file(file: Path) -> list[str]:
    import datasets

    builder = "parquet" if file.suffix == ".parquet" else "json"
    try:
        loaded = datasets.load_dataset(builder, data_files={"rows": str(file)}, split="rows")
        return [str(text) for text in loaded["text"]]
    except Exception as error:  # damaged files surface as many kinds of error
        raise DataError(
            f"{file} cannot be read.",
            expected="rows with a column 'text'",
            received=f"{type(error).__name__}: {error}",
        ) from error


def _from_hub(where: _Rows) -> list[str]:
    import datasets

    try:
        return [str(text) for text in datasets.load_dataset(**where.hub)["text"]]
    except Exception as error:  # the loader raises many kinds, by what is missing
        place = f"datasets/{where.folders[0]}"
        arguments = ", ".join(f"{key}={value!r}" for key, value in where.hub.items())
        how = f'python -c "from datasets import load_dataset as l; l({arguments})"'
        raise absent("dataset", where.hub["path"], f"{place}/{where.files[0]}", how, error) from error
