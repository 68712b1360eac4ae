"""Ids of the hub, and the folder named by DARKIT_DATA that stands in for it.

    $DARKIT_DATA/datasets/<id>/            train.jsonl, validation.jsonl (or .parquet, .txt; shards train-*.parquet),
                                           or what `save_to_disk` of a Hugging Face dataset wrote
    $DARKIT_DATA/datasets/<id>/<subset>/   the same, where a dataset has several
    $DARKIT_DATA/tokenizers/<id>/          tokenizer.json, or vocab.json and merges.txt, or vocab.txt

`<id>` is the name used here (`wikitext-2-raw`) or the hub's (`Salesforce/wikitext`).
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from darkit_nb.errors import DataError

_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_PATIENCE_S = 5
_ID = re.compile(rf"{_PART}(/{_PART})?")


def check_id(kind: str, name: str) -> None:
    """Refuse what is no hub id, before it becomes part of a path.

    Raises:
        DataError: the id is malformed.
    """
    if not _ID.fullmatch(name) or ".." in name or len(name) > 128:
        own = "for text of your own write text:<path>" if kind == "dataset" else "for a folder give a path that exists"
        raise DataError(
            f"{name!r} is not the id of a {kind}.",
            expected="'name' or 'org/name' of letters, digits, '.', '_' and '-'",
            received=repr(name),
            fix=own,
        )


def find_mirrored(kind: str, *names: str) -> Path | None:
    """First of `names` that exists in the mirror folder."""
    return next((folder for folder in _candidates(kind, names) if folder.is_dir()), None)


def hub_reachable() -> bool:
    """Whether the hub answers at all; where a proxy stands between, its own client has to find out."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    address = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    try:
        socket.create_connection((address.hostname or "", address.port or 443), timeout=_PATIENCE_S).close()
    except OSError:
        return False
    return True


def absent(kind: str, name: str, where: str, how: str, error: Exception) -> DataError:
    """The error for something that is neither here nor to be had from the hub.

    Args:
        kind: `dataset` or `tokenizer`.
        name: Its id.
        where: Its folder below the mirror.
        how: A line that puts it there, run where there is a network.
        error: What the hub's loader said.
    """
    mirror = os.environ.get("DARKIT_DATA")
    unreachable = _unreachable(error)
    return DataError(
        f"The {kind} {name!r} is not on this machine and the hub cannot be reached."
        if unreachable
        else f"The {kind} {name!r} could not be loaded from the hub.",
        expected=f"a network, a copy in the cache of Hugging Face, or {where} in the folder named by DARKIT_DATA",
        received=f"{type(error).__name__}: {error}; DARKIT_DATA "
        + (f"is {mirror}, which has no {where}" if mirror else "is not set"),
        cause="HF_HUB_OFFLINE is set" if unreachable and os.environ.get("HF_HUB_OFFLINE") else None,
        fix=f"where there is a network: {how}  Then copy the folder here and set DARKIT_DATA to it",
    )


def _candidates(kind: str, names: tuple[str, ...]) -> Iterator[Path]:
    mirror = os.environ.get("DARKIT_DATA")
    if mirror:
        yield from (Path(mirror).expanduser() / f"{kind}s" / name for name in names)


def _unreachable(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, is a missing network rather than a missing file."""
    words = ("offline", "couldn't connect", "couldn't reach", "connection", "timeout", "name or service")
    while error is not None:
        if any(word in f"{type(error).__name__} {error}".lower() for word in words):
            return True
        error = error.__cause__ or error.__context__
    return False
