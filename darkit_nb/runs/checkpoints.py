"""Checkpoints that are there whole or not at all: written in a hidden folder, sealed, then renamed."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from darkit_nb.errors import RunError
from darkit_nb.runs.files import SCHEMA, from_json, sync_folder, to_json, write_atomic, writing

SEAL = "complete.json"
_NAME = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True, order=True)
class Checkpoint:
    """A complete checkpoint.

    Attributes:
        step: Optimizer steps done when it was written.
        path: Its folder.
    """

    step: int
    path: Path


def checkpoint_name(step: int) -> str:
    """Folder name of a step's checkpoint; names sort as steps do."""
    return f"step-{step:08d}"


def step_of(name: str) -> int | None:
    """The step in a checkpoint folder's name; None for other names."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


def is_complete(folder: Path) -> bool:
    """Whether a checkpoint folder is sealed and every file it was sealed with still has its size."""
    try:
        seal = from_json((folder / SEAL).read_bytes())
        return all((folder / name).stat().st_size == size for name, size in seal["files"].items())
    except (OSError, ValueError, KeyError, AttributeError):
        return False


def seal(folder: Path, step: int) -> None:
    """Declare a checkpoint folder complete, after its files have reached the disk.

    Raises:
        RunError: the disk is full or the folder not writable.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SEAL)
    with writing(folder):
        for path in files:
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
        sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    write_atomic(folder / SEAL, to_json({"schema": SCHEMA, "step": step, "time": time.time(), "files": sizes}) + "\n")
    sync_folder(folder)


def list_checkpoints(folder: Path) -> list[Checkpoint]:
    """Complete checkpoints of a folder, oldest first."""
    if not folder.is_dir():
        return []
    named = ((step_of(path.name), path) for path in folder.iterdir())
    return sorted(Checkpoint(step, path) for step, path in named if step is not None and is_complete(path))


def draft_path(folder: Path, step: int) -> Path:
    """Where a checkpoint is written before it has its name; the same for all processes of a run."""
    return folder / f".draft-{checkpoint_name(step)}"


@contextmanager
def new_checkpoint(folder: Path, step: int, *, owner: bool = True) -> Iterator[Path]:
    """A folder to write a checkpoint into; at the end of the block it gets its seal and its name.

    Args:
        folder: The run's `checkpoints` folder.
        step: Optimizer steps done.
        owner: Whether this process seals and renames. In a distributed run one process is the owner, and all must
            have finished writing before the owner leaves the block.

    Raises:
        RunError: the disk is full or the folder not writable; earlier checkpoints are intact.
    """
    draft = draft_path(folder, step)
    with writing(draft):
        draft.mkdir(parents=True, exist_ok=True)
    try:
        yield draft
        if owner:
            seal(draft, step)
            _install(draft, folder / checkpoint_name(step))
    except BaseException as error:
        if owner:
            shutil.rmtree(draft, ignore_errors=True)
        if isinstance(error, OSError):
            with writing(draft):
                raise
        raise


def _install(draft: Path, final: Path) -> None:
    """Rename, setting aside an older checkpoint of the same step until the new one stands."""
    aside = final.with_name(f".old-{final.name}")
    with writing(final):
        shutil.rmtree(aside, ignore_errors=True)
        if final.exists():
            final.replace(aside)
        draft.replace(final)
    sync_folder(final.parent)
    shutil.rmtree(aside, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what killed writers left: drafts and unsealed folders. Only the one writer of a run may do so."""
    if not folder.is_dir():
        return
    complete = {checkpoint.path for checkpoint in list_checkpoints(folder)}
    for path in folder.iterdir():
        old = path.name.startswith(".old-")
        if old and not (folder / path.name.removeprefix(".old-")).exists() and is_complete(path):
            path.replace(folder / path.name.removeprefix(".old-"))  # killed between the two renames
        elif old or path.name.startswith(".draft-") or (step_of(path.name) is not None and path not in complete):
            shutil.rmtree(path, ignore_errors=True)


def prune(folder: Path, keep: int) -> list[Checkpoint]:
    """Remove all but the newest complete checkpoints.

    Args:
        folder: The run's `checkpoints` folder.
        keep: How many to keep, at least one.

    Returns: The removed ones.

    Raises:
        RunError: `keep` is less than one.
    """
    if keep < 1:
        raise RunError("At least one checkpoint has to be kept.", expected="keep ≥ 1", received=f"keep={keep}")
    doomed = list_checkpoints(folder)[:-keep]
    for checkpoint in doomed:
        (checkpoint.path / SEAL).unlink(missing_ok=True)  # first, so that a kill here leaves no half checkpoint
        shutil.rmtree(checkpoint.path, ignore_errors=True)
    return doomed
