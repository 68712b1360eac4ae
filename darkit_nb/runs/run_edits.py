"""Editing the model of a `Run` while it trains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from darkit_nb.plugins import registry
from darkit_nb.runs.directory import RunDirectory
from darkit_nb.runs.patch_history import RunPatch, read_patches
from darkit_nb.runs.patching import TRIAL_STEPS, checked, send_dry_run, send_patch, send_revert, waited

if TYPE_CHECKING:
    from darkit_nb.records.patch import Patch, Validation


class EditableRun:
    """The part of a `Run` that edits its model.

    Attributes:
        directory: the run's folder.
    """

    directory: RunDirectory

    @property
    def patches(self) -> tuple[RunPatch, ...]:
        """Every edit that was sent to its model, and what became of it."""
        return read_patches(self.directory)

    @overload
    def patch(
        self, patch: Patch, *, wait_s: float = ..., trial_steps: int = ..., dry_run: Literal[False] = False
    ) -> RunPatch: ...

    @overload
    def patch(
        self, patch: Patch, *, wait_s: float = ..., trial_steps: int = ..., dry_run: Literal[True]
    ) -> Validation: ...

    def patch(
        self, patch: Patch, *, wait_s: float = 120.0, trial_steps: int = TRIAL_STEPS, dry_run: bool = False
    ) -> RunPatch | Validation:
        """Put an edit into the model while it trains, between two steps; a checkpoint is written before.

        It is checked first, on recorded inputs and in a process of its own. When a step fails or its loss is not
        finite while the edit is new, it is taken out by itself and the step repeated.

        Args:
            patch: what to apply.
            wait_s: wait so many seconds until the first step with it is done, or until it is checked; 0 only sends it.
            trial_steps: how many steps it counts as new.
            dry_run: only check it, between two steps: the training goes on bit for bit as if nobody had asked.

        Returns: what became of it; of a dry run, what the checks found.

        Raises:
            PatchRefusedError: it failed its checks, or its first step; its `problems` name the lines. A dry run raises
                it only where no check could be made.
            RunError: nobody trains the run, or no word of it in time.
        """
        if dry_run:
            return checked(send_dry_run(self.directory, patch).wait(wait_s))
        number, sent = send_patch(self.directory, patch, trial_steps=trial_steps)
        return waited(self.directory, number, sent, wait_s)

    def revert(self, count: int = 1, *, wait_s: float = 120.0) -> tuple[RunPatch, ...]:
        """Take the last edits out of the model while it trains, between two steps; a checkpoint is written before.

        Args:
            count: how many.
            wait_s: wait so many seconds until that is done; 0 only asks.

        Returns: `patches`, as they are then.

        Raises:
            PatchRefusedError: it could not be done.
            RunError: nobody trains the run, it has fewer edits, or no word in time.
        """
        sent = send_revert(self.directory, count)
        if wait_s > 0:
            sent.wait(wait_s)
        return self.patches

    def save_fork(self, name: str, *, note: str = "", overwrite: bool = False) -> Any:
        """Keep its edits, and the steps at which they were made, as a fork in the forks folder beside the runs.

        Args:
            name: of the fork.
            note: what to say about it.
            overwrite: replace a fork of that name.

        Returns: the `Fork`.

        Raises:
            ConfigError: a name that cannot be a folder's.
            PatchError: there are no edits, or the name is taken.
        """
        save = registry("edit").get("fork-run").load()
        return save(self.directory, name, note=note, overwrite=overwrite)
