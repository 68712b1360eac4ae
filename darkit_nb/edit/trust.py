"""Which code from elsewhere somebody here has agreed to run, by its hash: any changed byte asks again. No torch."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from darkit_nb.errors import TrustError
from darkit_nb.records.patch import Patch
from darkit_nb.runs import lock
from darkit_nb.runs.files import SCHEMA, sync_folder, write_atomic, writing

FILE = "trusted.json"


def config_root() -> Path:
    """Folder of what is remembered for this user: DARKIT_CONFIG, else the system's place for it."""
    if chosen := os.environ.get("DARKIT_CONFIG"):
        return Path(chosen).expanduser()
    if sys.platform == "win32" and (roaming := os.environ.get("APPDATA")):
        return Path(roaming) / "darkit-nb"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config").expanduser() / "darkit-nb"


def patch_hash(patch: Patch) -> str:
    """The sha256 of every byte of a patch."""
    return hashlib.sha256(json.dumps(patch.to_dict(), sort_keys=True).encode()).hexdigest()


def is_trusted(digest: str) -> bool:
    """Whether somebody here has agreed to what has this hash."""
    return digest in _read(config_root() / FILE)


def remember(digest: str, what: str) -> None:
    """Agree to what has this hash, from now on.

    Args:
        digest: sha256 as hex digits.
        what: a few words for people who read the file.

    Raises:
        RunError: the user's configuration folder cannot be written.
    """
    path = config_root() / FILE
    if digest in _read(path):
        return
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with lock.exclusive(path.parent / ".trusted.lock", "The list of trusted code", wait_seconds=10.0):
        trusted = _read(path) | {digest: {"what": what, "time": time.time()}}
        text = json.dumps({"schema": SCHEMA, "trusted": trusted}, indent=1) + "\n"
        write_atomic(path, text, mode=0o600)
        sync_folder(path.parent)


def require(digests: Sequence[str], patches: Sequence[Patch], *, what: str, trust: bool, fix: str) -> None:
    """Let code be used that is trusted, or is to be trusted from now on.

    Args:
        digests: sha256 of its parts, of which every one has to be trusted.
        patches: what it holds, to be shown.
        what: what holds it, as in `The fork 'gated'`.
        trust: whether whoever asks has agreed.
        fix: how to agree.

    Raises:
        TrustError: nobody has agreed to it yet; the error shows what it contains.
    """
    known = _read(config_root() / FILE)
    strange = [digest for digest in digests if digest not in known]
    if trust:
        for digest in strange:
            remember(digest, what)
    if trust or not strange:
        return
    raise TrustError(
        f"{what} contains code that nobody on this machine has agreed to run.",
        expected="code that was written here, or that you have read and trust",
        received=f"{len(patches)} edits, sha256 {', '.join(strange)}",
        cause="it comes from elsewhere, or was changed since it was trusted",
        fix=f"read what is below; if you trust it: {fix}",
        contents=contents(patches),
    )


def contents(patches: Sequence[Patch]) -> str:
    """Patches for people who decide about them: what each changes, and how, in full."""
    parts = []
    for number, patch in enumerate(patches, 1):
        where = ", ".join(target or "the model itself" for target in patch.targets)
        note = f"\n   note: {_printable(patch.note)}" if patch.note else ""
        head = f"{number}. {patch.module}.{patch.class_name} in {where} ({patch.id}){note}"
        parts.append(f"{_printable(head)}\n{_printable(patch.diff)}")
    return "\n".join(parts)


def _printable(text: str) -> str:
    """Text without what a terminal would obey, or what makes code look like other code than it is."""
    return "".join(each if each in "\n\t" or each.isprintable() else f"\\u{ord(each):04x}" for each in text)


def _read(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_bytes())["trusted"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return known if isinstance(known, dict) else {}
