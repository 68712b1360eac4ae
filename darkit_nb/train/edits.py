"""Edits a run begins with: those of its fork, or those in the checkpoint it goes on from; and what checkpoints keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn
from torch.optim import Optimizer

from darkit_nb.config import RunConfig
from darkit_nb.edit import fork_files
from darkit_nb.edit import trust as trusting
from darkit_nb.edit.agree import saved_patches
from darkit_nb.edit.fork import Fork, forks_beside
from darkit_nb.edit.optimizer import plain_optimizer
from darkit_nb.errors import RunError
from darkit_nb.records.patch import Patch
from darkit_nb.runs import Checkpoint, RunDirectory
from darkit_nb.runs.files import SCHEMA, from_json, to_json, write_atomic
from darkit_nb.runs.patch_history import ScheduledAction, in_effect

FILE = "edits.json"
FORK = "fork"


@dataclass(frozen=True)
class RunEdits:
    """The edits of a run as it starts.

    Attributes:
        patches: to be put into the model before anything else, in their order.
        numbers: theirs among the run's patches; None where they have none yet.
        fork: the fork the run was made with.
        replay: what is to be done at later steps, as its schedule says.
        layout: names of the parameters in each group of the optimizer, where a checkpoint has one.
    """

    patches: tuple[Patch, ...] = ()
    numbers: tuple[int, ...] | None = None
    fork: Fork | None = None
    replay: tuple[ScheduledAction, ...] = ()
    layout: Sequence[Sequence[str]] | None = None


def edits_of(config: RunConfig, run: RunDirectory | None = None, checkpoint: Checkpoint | None = None) -> RunEdits:
    """What is to be in the model when its training begins, or goes on.

    Args:
        config: of the run.
        run: the run, where it exists already; its own copy of the fork is taken then.
        checkpoint: from where it goes on.

    Raises:
        TrustError: code from elsewhere; the error shows it.
        PatchError: there is no such fork, or it is damaged.
        RunError: the checkpoint's record of its edits is damaged.
    """
    fork = _fork(config, run)
    if checkpoint is not None:
        return _of_checkpoint(checkpoint, fork, config)
    if fork is None:
        return RunEdits()
    if not config.model.fork_replay:
        return RunEdits(patches=fork.in_effect, fork=fork)
    begun = [each for each in fork.schedule if each.step == 0]
    patches = tuple(fork.patches[number - 1] for number in in_effect(begun))
    return RunEdits(patches=patches, fork=fork, replay=tuple(each for each in fork.schedule if each.step > 0))


def keep_fork(run: RunDirectory, edits: RunEdits) -> None:
    """Copy the fork into the run, which from then on no longer depends on the folder of forks."""
    if edits.fork is not None and edits.fork.folder is not None:
        fork_files.copy(edits.fork.folder, run.root / FORK)


def write_edits(folder: Path, numbers: Sequence[int], model: nn.Module, optimizer: Optimizer) -> None:
    """Beside a checkpoint's weights: which edits they were trained with, and how the optimizer counts parameters."""
    names = {id(each): name for name, each in model.named_parameters()}
    layout = [[names[id(each)] for each in group["params"]] for group in plain_optimizer(optimizer).param_groups]
    write_atomic(folder / FILE, to_json({"schema": SCHEMA, "in_effect": list(numbers), "optimizer": layout}) + "\n")


def arrange(optimizer: Optimizer, model: nn.Module, layout: Sequence[Sequence[str]]) -> None:
    """Give the groups of a fresh optimizer the order that a saved state counts in.

    Raises:
        RunError: they are not the same parameters.
    """
    parameters = dict(model.named_parameters())
    now = sorted(id(each) for group in optimizer.param_groups for each in group["params"])
    then = sorted(id(parameters.get(name)) for group in layout for name in group)
    if now != then or len(layout) != len(optimizer.param_groups):
        raise RunError(
            "The optimizer state of the checkpoint belongs to other parameters.",
            expected=f"{len(then)} parameters in {len(layout)} groups",
            received=f"{len(now)} in {len(optimizer.param_groups)}",
            cause="the base of an edit was changed since",
            fix="start a new run from these weights with model.path",
        )
    for group, names in zip(optimizer.param_groups, layout, strict=True):
        group["params"] = [parameters[name] for name in names]


def _fork(config: RunConfig, run: RunDirectory | None) -> Fork | None:
    name = config.model.fork
    if name is None:
        return None
    kept = run.root / FORK if run is not None else None
    if kept is not None and (kept / fork_files.FILE).is_file():
        return Fork.load(kept)
    return Fork.load(name, forks_dir=forks_beside(config.runs_dir))


def _of_checkpoint(checkpoint: Checkpoint, fork: Fork | None, config: RunConfig) -> RunEdits:
    patches = saved_patches(checkpoint.path)
    trusting.require(
        [trusting.patch_hash(patch) for patch in patches],
        patches,
        what=f"The checkpoint {checkpoint.path}",
        trust=False,
        fix=f"darkit-nb fork trust {checkpoint.path}",
    )
    replay = fork.schedule if fork is not None and config.model.fork_replay else ()
    left = tuple(each for each in replay if each.step >= checkpoint.step)
    try:
        facts = from_json((checkpoint.path / FILE).read_bytes())
        numbers, layout = tuple(map(int, facts["in_effect"])), [list(map(str, group)) for group in facts["optimizer"]]
    except FileNotFoundError:
        numbers, layout = (), None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(checkpoint, f"{type(error).__name__}: {error}") from error
    if len(numbers) != len(patches):
        raise _damaged(checkpoint, f"{len(numbers)} numbers for {len(patches)} edits")
    return RunEdits(patches=patches, numbers=numbers, fork=fork, replay=left, layout=layout)


def _damaged(checkpoint: Checkpoint, received: str) -> RunError:
    return RunError(
        f"The record of edits in {checkpoint.path.name} is damaged.",
        expected=f"{FILE}, as it was written beside the weights",
        received=received,
        fix="resume from an earlier checkpoint: remove this one",
    )
