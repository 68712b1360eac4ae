"""`Fork`: a base model with edits in their order, a folder that can be kept in git, shared and applied again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkit_nb.config.names import check_name
from darkit_nb.edit import fork_files
from darkit_nb.edit import trust as trusting
from darkit_nb.errors import PatchError
from darkit_nb.records.patch import AppliedPatch, Patch
from darkit_nb.runs.patch_history import ScheduledAction, in_effect

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

FORKS_DIR = "forks"


def forks_beside(runs_dir: str | Path) -> Path:
    """The folder of forks that belongs to a folder of runs."""
    return Path(runs_dir).expanduser().parent / FORKS_DIR


@dataclass(frozen=True, kw_only=True)
class Fork:
    """A base model and what was edited in it.

    Attributes:
        name: what it is called.
        patches: every edit its schedule names.
        schedule: the steps after which each was put in or taken out; their numbers count `patches` from 1.
        base: the model it began from: a preset, a folder, a hub id or a class.
        config: settings of the run it comes from, as plain data; None where it comes from a notebook.
        origin: id of that run.
        note: what to say about it.
        versions: of the packages it was made with.
        created: when, seconds since 1970.
        folder: where it lies; None before it is saved.
        digest: sha256 over all of its content; empty before it is saved.
    """

    name: str
    patches: tuple[Patch, ...]
    schedule: tuple[ScheduledAction, ...]
    base: str = ""
    config: Mapping[str, Any] | None = None
    origin: str = ""
    note: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    created: float = field(default_factory=time.time)
    folder: Path | None = None
    digest: str = ""

    def __post_init__(self) -> None:
        check_name(self.name, "fork")
        for each in self.schedule:
            if not 1 <= each.number <= len(self.patches):
                raise PatchError(
                    f"The schedule of the fork {self.name!r} names an edit it does not hold.",
                    expected=f"a number from 1 to {len(self.patches)}",
                    received=str(each.number),
                    cause="its fork.json was changed by hand, or is damaged",
                )

    @property
    def in_effect(self) -> tuple[Patch, ...]:
        """The edits that are in the model at the end of the schedule, in their order."""
        return tuple(self.patches[number - 1] for number in in_effect(self.schedule))

    @property
    def contents(self) -> str:
        """What it holds, for people: every edit with its diff, and when it was put in."""
        lines = [f"{self.name}: {len(self.in_effect)} of {len(self.patches)} edits in effect, base {self.base or '?'}"]
        lines += [f"  after step {each.step}: {_done(each, self.patches)}" for each in self.schedule]
        return "\n".join([*lines, "", trusting.contents(self.patches)])

    # -- making ------------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, name: str, model: nn.Module, *, note: str = "") -> Fork:
        """The edits that a live model has now.

        Raises:
            ConfigError: a name that cannot be a folder's.
            PatchError: the model has no edits.
        """
        from darkit_nb.edit.apply import history

        applied = history(model)
        done = [ScheduledAction(0, "patch", each.number) for each in applied if not each.reverted]
        config = getattr(model, "config", None)
        base = str(getattr(config, "_name_or_path", "") or type(model).__qualname__)
        patches = {each.number: each.patch for each in applied}
        return made(name, patches, done, base=base, note=note, versions=versions())

    @classmethod
    def load(cls, where: str | Path, *, forks_dir: str | Path = FORKS_DIR, trust: bool = False) -> Fork:
        """A fork that may be applied.

        Args:
            where: its name in `forks_dir`, or its folder: a `Path`, or text with a slash.
            forks_dir: folder of forks.
            trust: agree to run its code, now and as long as no byte of it changes.

        Raises:
            ConfigError: a name that cannot be a folder's.
            PatchError: there is no such fork, or it is damaged.
            TrustError: nobody here has agreed to run its code; the error shows what it holds.
        """
        fork = cls.read(where, forks_dir=forks_dir)
        fork.require_trust(trust=trust)
        return fork

    @classmethod
    def read(cls, where: str | Path, *, forks_dir: str | Path = FORKS_DIR) -> Fork:
        """A fork to be looked at, whether it is trusted or not; nothing in it is run.

        Raises:
            ConfigError: a name that cannot be a folder's.
            PatchError: there is no such fork, or it is damaged.
        """
        folder = fork_files.find(where, Path(forks_dir).expanduser())
        found = fork_files.read(folder)
        return cls(**{**found, "name": folder.name})

    def require_trust(self, *, trust: bool = False) -> None:
        """Go on only with code that is trusted, or that whoever calls agrees to.

        Raises:
            TrustError: it is not trusted; the error shows what it holds.
        """
        fix = f"darkit-nb fork trust {self.folder}, or trust=True in Python"
        trusting.require([self.digest], self.patches, what=f"The fork {self.name!r}", trust=trust, fix=fix)

    # -- using -------------------------------------------------------------------------------------------------------

    def save(self, forks_dir: str | Path = FORKS_DIR, *, overwrite: bool = False) -> Fork:
        """Write it as a folder under its name; it is trusted here, as its code has been run here.

        Args:
            forks_dir: folder of forks; made where it is missing.
            overwrite: replace one of the same name.

        Returns: the fork as it lies there.

        Raises:
            PatchError: the name is taken.
            RunError: the folder cannot be written.
        """
        folder = Path(forks_dir).expanduser() / self.name
        fork_files.write(folder, self, overwrite=overwrite)
        saved = Fork.read(self.name, forks_dir=forks_dir)
        trusting.remember(saved.digest, f"the fork {self.name!r}, saved here")
        return saved

    def apply(
        self, model: nn.Module, *, optimizer: Optimizer | None = None, folder: str | Path | None = None
    ) -> list[AppliedPatch]:
        """Put the edits in effect into a model; all of them, or, where one does not fit, none.

        A base that has changed since is merged where both sides allow it.

        Args:
            model: the model.
            optimizer: of a training that goes on.
            folder: where the files of the edits go.

        Raises:
            PatchError: an edit does not fit this model, or the base and the edit both changed the same lines.
        """
        from darkit_nb.edit.apply import apply, revert

        done: list[AppliedPatch] = []
        try:
            for patch in self.in_effect:
                done.append(apply(model, patch, optimizer=optimizer, folder=folder))
        except BaseException:
            if done:
                revert(model, count=len(done), optimizer=optimizer)
            raise
        return done


def made(name: str, patches: Mapping[int, Patch], done: Sequence[ScheduledAction], **facts: Any) -> Fork:
    """A fork of the patches a schedule names, numbered anew in the order they first come in."""
    if not done:
        raise PatchError(
            "There is nothing to make a fork of.",
            expected="a model with at least one edit",
            received="none",
            fix="apply an edit first",
        )
    order = {number: place for place, number in enumerate(dict.fromkeys(each.number for each in done), 1)}
    return Fork(
        name=name,
        patches=tuple(patches[number] for number in order),
        schedule=tuple(ScheduledAction(each.step, each.action, order[each.number]) for each in done),
        **facts,
    )


def versions() -> dict[str, str]:
    """Of the packages that decide what a fork means here."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in ("darkit-nb", "torch", "transformers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _done(each: ScheduledAction, patches: Sequence[Patch]) -> str:
    what = "edit" if each.action == "patch" else "out again: edit"
    return f"{what} {each.number}, {patches[each.number - 1].label}"
