"""What goes: a run by its name, a conversion with its model, the oldest answers of a run by themselves."""

from __future__ import annotations

import shlex
import time
from contextlib import suppress
from pathlib import Path

from darkit_nb.errors import RunError
from darkit_nb.runs import conversion_files, lock
from darkit_nb.runs.directory import RunDirectory
from darkit_nb.runs.files import remove_folder, sweep_removed
from darkit_nb.runs.launcher import START_LOCK, refuse_active

KEPT_ANSWERS = 100
KEPT_BYTES = 1 << 30
"""Of the answers of a run, probes, generations and traces: as many as fit in both bounds, the newest always."""

_DRAFT_SECONDS = 3600.0


def delete_run(name: str, runs_dir: str | Path = "runs") -> Path:
    """Remove a run with everything in it: settings, measurements, checkpoints, spikes, edits.

    After a kill in the middle there is a whole run, or none: what is left under a hidden name goes with the next
    removal or the next new run in the same folder.

    Args:
        name: id, name, or unique beginning or end of an id, of a run in `runs_dir`. No path: nothing outside that
            folder is touched.
        runs_dir: folder of runs.

    Returns: The folder that is gone.

    Raises:
        RunError: there is no such run, or several; it is at work; its folder is a link; or it cannot be removed.
    """
    run = run_to_delete(name, runs_dir)
    folder = run.root.parent
    with lock.exclusive(folder / ".lock", f"The list of runs in {folder}", wait_seconds=10.0):
        sweep_removed(folder)
        with lock.exclusive(run.root / START_LOCK, f"The start of the run {run.id}", wait_seconds=10.0), run.lock():
            refuse_active(run)
            remove_folder(run.root)
    return run.root


def run_to_delete(name: str, runs_dir: str | Path = "runs") -> RunDirectory:
    """The run that `delete_run` would remove.

    Raises:
        RunError: there is no such run, or several; a path in place of a name; it is at work; or its folder is a link.
    """
    if any(mark in name for mark in ("/", "\\")) or name.startswith("."):
        raise RunError(
            f"{name!r} is no name of a run.",
            expected="an id or a name, and the folder of runs beside it",
            received=repr(name),
            cause="a path was given; only what lies in the folder of runs is deleted",
            fix=f"darkit-nb runs delete {Path(name).name} --runs-dir {Path(name).parent}",
        )
    folder = Path(runs_dir).expanduser().resolve()
    run = RunDirectory.open(name, folder)
    if run.root.absolute().parent != folder or run.root.is_symlink():
        raise RunError(
            f"The run {name!r} does not lie in {folder}.",
            expected="a folder among the runs there",
            received=f"a link to {run.root.resolve()}" if run.root.is_symlink() else str(run.root),
            fix="name the folder it lies in with runs_dir",
        )
    refuse_active(run)
    return run


def delete_conversion(root: Path) -> tuple[Path, ...]:
    """Remove a conversion with everything that is its own: model, finished blocks, measurements, answers, edits.

    After a kill in the middle there is a whole conversion, or none: what is left goes with the next removal or the next
    conversion in the same folder. A folder in the model's place that no conversion wrote stays.

    Args:
        root: the folder `<out>.run`.

    Returns: The folders that are gone.

    Raises:
        RunError: it is at work; one of its folders is a link; or it cannot be removed.
    """
    run, folders = conversion_to_delete(root)
    sweep_removed(root.parent)
    start = lock.exclusive(root / START_LOCK, f"The start of the conversion {run.id}", wait_seconds=10.0)
    claim = lock.exclusive(root / conversion_files.CLAIM_LOCK, f"The conversion {run.id}", wait_seconds=10.0)
    with claim, start, run.lock():
        refuse_active(run)
        remove_folder(*folders)
    return folders


def conversion_to_delete(root: Path) -> tuple[RunDirectory, tuple[Path, ...]]:
    """The conversion that `delete_conversion` would remove, and its folders, the one that decides first.

    Raises:
        RunError: it is at work, or one of its folders is a link.
    """
    run, out = RunDirectory(root), conversion_files.model_folder(root)
    beside = [out] if (out / conversion_files.REPORT).is_file() else []
    beside += conversion_files.own_folders(out)
    folders = (root, *(path for path in beside if path.is_dir()))
    links = [path for path in folders if path.is_symlink()]
    if links:
        raise RunError(
            f"{links[0]} is a link.",
            expected="a folder of the conversion itself",
            received=f"a link to {links[0].resolve()}",
            fix=f"delete what it leads to yourself, then the link: rm {shlex.quote(str(links[0]))}",
        )
    refuse_active(run)
    return run, folders


def prune_answers(folder: Path, *, keep: int = KEPT_ANSWERS, most_bytes: int = KEPT_BYTES) -> list[Path]:
    """Remove the oldest answers of a run beyond the bounds, and drafts that killed processes left.

    Args:
        folder: the run's `spikes`.
        keep: answers at most.
        most_bytes: that all of them take; the newest stays whatever its size.

    Returns: The removed ones.
    """
    found: list[tuple[float, Path, int]] = []
    with suppress(OSError):
        for path in folder.iterdir():
            with suppress(OSError):  # another process may prune too
                info = path.stat()
                if path.is_file():
                    found.append((info.st_mtime, path, info.st_size))
    removed, total, kept = [], 0, 0
    for changed, path, size in sorted(found, reverse=True):
        draft = path.name.startswith(".")
        if draft and time.time() - changed < _DRAFT_SECONDS:
            continue  # somebody is writing it
        if not draft and (kept == 0 or (kept < keep and total + size <= most_bytes)):
            kept, total = kept + 1, total + size
            continue
        with suppress(OSError):
            path.unlink()
            removed.append(path)
    return removed
