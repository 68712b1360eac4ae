"""Forks of runs: the edits of a training, with the steps at which they were made. No torch."""

from __future__ import annotations

from pathlib import Path

from darkit_nb.edit import trust as trusting
from darkit_nb.edit.fork import Fork, forks_beside, made, versions
from darkit_nb.errors import PatchError
from darkit_nb.records.patch import Patch
from darkit_nb.runs.directory import RunDirectory
from darkit_nb.runs.patch_history import read_patches, schedule


def save_run_fork(
    run: RunDirectory, name: str, *, note: str = "", forks_dir: str | Path | None = None, overwrite: bool = False
) -> Fork:
    """Make a fork of a run's edits and save it; by default in the forks folder beside the runs.

    Raises:
        ConfigError: a name that cannot be a folder's.
        PatchError: the run has no edits, their files are missing, or the name is taken.
        TrustError: the edits came with a run from elsewhere.
    """
    fork = run_fork(run, name, note=note)
    trusting.require(
        [trusting.patch_hash(patch) for patch in fork.patches],
        fork.patches,
        what=f"The run {run.id}",
        trust=False,
        fix=f"darkit-nb fork trust {run.root}",
    )
    return fork.save(forks_beside(run.root.parent) if forks_dir is None else forks_dir, overwrite=overwrite)


def run_fork(run: RunDirectory, name: str, *, note: str = "") -> Fork:
    """The edits of a run as a fork, with the steps that led to the weights it has now."""
    done = schedule(run.read_events())
    files = {each.number: each.path for each in read_patches(run)}
    missing = sorted({each.number for each in done} - files.keys())
    if missing:
        raise PatchError(
            f"Edits of the run {run.id} are missing.",
            expected=f"their files in {run.patches_path}",
            received=f"no file of the edits {', '.join(map(str, missing))}",
            cause="the run was imported without them",
            fix="make the fork where the run was trained",
        )
    config = run.read_config().replace({"name": None, "model.fork": None, "model.fork_replay": False})
    settings = {key: value for key, value in config.to_dict().items() if key != "runs_dir"}
    patches = {each.number: Patch.from_json(files[each.number].read_bytes()) for each in done}
    base = config.model.path or config.model.preset
    return made(name, patches, done, base=base, config=settings, origin=run.id, note=note, versions=versions())
