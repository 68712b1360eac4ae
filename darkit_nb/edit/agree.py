"""What somebody may be asked to trust: the code in a fork, a saved model or a run. Nothing in it is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkit_nb.edit import fork_files
from darkit_nb.edit import trust as trusting
from darkit_nb.edit.fork import FORKS_DIR, Fork
from darkit_nb.errors import DarkitError, PatchError
from darkit_nb.records.patch import Patch
from darkit_nb.runs.directory import RunDirectory
from darkit_nb.runs.files import from_json
from darkit_nb.runs.patch_history import read_patches


@dataclass(frozen=True)
class Code:
    """Edits from somewhere.

    Attributes:
        what: where they are, as in `The fork 'gated'`.
        patches: the edits.
        digests: sha256 of its parts.
    """

    what: str
    patches: tuple[Patch, ...]
    digests: tuple[str, ...]

    @property
    def trusted(self) -> bool:
        """Whether somebody here has agreed to all of it."""
        return all(map(trusting.is_trusted, self.digests))

    @property
    def contents(self) -> str:
        """The edits with their diffs, and the hashes."""
        return f"{trusting.contents(self.patches)}\nsha256 {', '.join(self.digests)}"

    def agree(self) -> None:
        """Trust it from now on."""
        for digest in self.digests:
            trusting.remember(digest, self.what)


def find_code(where: str, *, forks_dir: str | Path = FORKS_DIR, runs_dir: str | Path = "runs") -> Code:
    """The edits in a fork (by name or folder), in a model's folder, or in a run.

    Raises:
        PatchError: there is nothing of that name with edits in it.
    """
    folder = Path(where).expanduser()
    if (folder / "config.json").is_file():
        return _code(f"The model {where!r}", saved_patches(folder))
    if (folder / fork_files.FILE).is_file() and ("/" in where or "\\" in where):
        return _of_fork(Fork.read(folder))
    try:
        return _of_fork(Fork.read(where, forks_dir=forks_dir))
    except DarkitError as error:
        no_fork = error
    try:
        run = RunDirectory.open(where, runs_dir=runs_dir)
    except DarkitError:
        raise no_fork from None
    kept = [Patch.from_json(each.path.read_bytes()) for each in read_patches(run)]
    kept += [patch for checkpoint in run.checkpoints() for patch in saved_patches(checkpoint.path)]
    code = _code(f"The run {run.id}", tuple({trusting.patch_hash(patch): patch for patch in kept}.values()))
    copy = run.root / "fork"
    return Code(code.what, code.patches, (*code.digests, Fork.read(copy).digest)) if copy.is_dir() else code


def saved_patches(folder: Path) -> tuple[Patch, ...]:
    """The edits that a saved model carries, read without loading it; none where it is no model.

    Raises:
        PatchError: one of them cannot be read.
    """
    try:
        stated: Any = from_json((folder / "config.json").read_bytes()).get("quantization_config")
    except (OSError, ValueError):
        return ()
    records = stated.get("patches", ()) if isinstance(stated, Mapping) else ()
    return tuple(Patch.from_dict(record) for record in records)


def _of_fork(fork: Fork) -> Code:
    code = _code(f"The fork {fork.name!r}", fork.patches)
    return Code(code.what, code.patches, (fork.digest, *code.digests))


def _code(what: str, patches: tuple[Patch, ...]) -> Code:
    if not patches:
        raise PatchError(f"{what} has no edits, so there is nothing to trust.", expected="edits", received="none")
    return Code(what, patches, tuple(trusting.patch_hash(patch) for patch in patches))
