"""Asking before something is deleted for good."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from darkit_nb.errors import RunError


def agreed(what: str, held: str, folders: Sequence[Path], *, again: str) -> bool:
    """Whether the person at the terminal agrees to delete it.

    Args:
        what: its name.
        held: what it is.
        folders: that would go; their size is told.
        again: the command that does not ask.

    Raises:
        RunError: nobody is there to answer.
    """
    if not sys.stdin.isatty():
        raise RunError(
            "Nobody is here to agree.",
            expected="a terminal to answer in, or --yes",
            received=f"the wish to delete {what}",
            fix=again,
        )
    size = sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
    print(f"{what}: {held}, {size / 1e6:,.1f} MB")
    if input("Delete it for good? [y/N] ").strip().lower() in ("y", "yes"):
        return True
    print("kept")
    return False
