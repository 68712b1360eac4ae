"""What became of the edits of a run's model, read from its events and its `patches` folder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from darkit_nb.runs.directory import RunDirectory
from darkit_nb.runs.metrics import Record

PatchState = Literal["waiting", "applied", "reverted", "refused", "dropped"]
Action = Literal["patch", "revert"]
_FILE = re.compile(r"(\d{4,})-([0-9a-f]{12})\.json")


@dataclass(frozen=True, kw_only=True)
class RunPatch:
    """One edit that was sent to a run.

    Attributes:
        number: counts the edits of this run, from 1.
        id: of the patch.
        path: its file in the run's `patches` folder.
        state: `waiting` for a step boundary, `applied`, `reverted`, `refused` by its checks, or `dropped` because the
            training ended, or goes on from a checkpoint, from before it.
        label: what it edits, in a few words.
        step: the step after which it was applied.
        reverted_step: the step after which it was taken out.
        who: who sent it.
        problem: why it was refused or taken out by itself, in the form of `DarkitError.to_dict`.
    """

    number: int
    id: str
    path: Path
    state: PatchState = "waiting"
    label: str = ""
    step: int | None = None
    reverted_step: int | None = None
    who: str = ""
    problem: Mapping[str, Any] | None = None

    @property
    def in_model(self) -> bool:
        """Whether it is in the model now."""
        return self.state == "applied"

    def __str__(self) -> str:
        when = {
            "applied": f" after step {self.step}",
            "reverted": f" after step {self.reverted_step}, applied after step {self.step}",
        }.get(self.state, "")
        told = f": {self.problem.get('message')}" if self.problem else ""
        return f"{self.number}. {self.label or self.id}: {self.state}{when}{told}"


@dataclass(frozen=True)
class ScheduledAction:
    """Something done to the model between two steps.

    Attributes:
        step: the step after which it was done; 0 before the first.
        action: `patch` or `revert`.
        number: of the patch.
    """

    step: int
    action: Action
    number: int


def read_patches(run: RunDirectory) -> tuple[RunPatch, ...]:
    """All edits that were ever sent to a run, in the order of their numbers."""
    found = {
        number: RunPatch(number=number, id=identity, path=path) for number, identity, path in _files(run.patches_path)
    }
    for event in run.read_events():
        _follow(found, event)
    if not run.read_status().active:
        waiting = [each for each in found.values() if each.state == "waiting"]
        found |= {each.number: replace(each, state="dropped") for each in waiting}
    return tuple(found[number] for number in sorted(found))


def schedule(events: Iterable[Record]) -> tuple[ScheduledAction, ...]:
    """What was done to the model at which step, on the way to the weights the run has now.

    Where a run went on from a checkpoint, what had been done after it is left out, as its steps are; so is an edit
    that was taken out at the boundary at which it was put in.
    """
    done: list[ScheduledAction] = []
    for event in events:
        step, kind = event.get("step"), event.get("kind")
        if not isinstance(step, int):
            continue
        if kind == "patches":
            done = [each for each in done if each.step < step]
            missing = [number for number in event.get("in_effect", []) if number not in in_effect(done)]
            done += [ScheduledAction(step, "patch", number) for number in missing]
        elif kind == "patch" and event.get("reason") != "resume":
            done.append(ScheduledAction(step, "patch", event["number"]))
        elif kind == "revert" and event.get("reason") != "resume":
            put_in = ScheduledAction(step, "patch", event["number"])
            if put_in in done:
                done.remove(put_in)
            else:
                done.append(ScheduledAction(step, "revert", event["number"]))
    return tuple(done)


def in_effect(done: Iterable[ScheduledAction]) -> list[int]:
    """Numbers of the patches that are in the model after all this, in the order they were put in."""
    numbers: list[int] = []
    for each in done:
        if each.action == "patch":
            numbers.append(each.number)
        elif each.number in numbers:
            numbers.remove(each.number)
    return numbers


def _files(folder: Path) -> list[tuple[int, str, Path]]:
    try:
        names = sorted(path for path in folder.iterdir() if path.is_file())
    except (FileNotFoundError, NotADirectoryError):
        return []
    matches = [(_FILE.fullmatch(path.name), path) for path in names]
    return [(int(match[1]), match[2], path) for match, path in matches if match]


def next_number(folder: Path) -> int:
    """The number of the next patch; whoever takes it holds the folder's lock."""
    return max((number for number, *_ in _files(folder)), default=0) + 1


def _follow(found: dict[int, RunPatch], event: Record) -> None:
    number, kind, step = event.get("number"), event.get("kind"), event.get("step")
    known = found.get(number) if isinstance(number, int) else None
    if known is None:
        return
    told: dict[str, Any] = {}
    if kind == "patch":
        told = {"state": "applied", "step": step, "reverted_step": None, "problem": None}
    elif kind == "revert" and event.get("reason") == "resume":
        told = {"state": "dropped", "problem": event.get("problem")}
    elif kind == "revert":
        told = {"state": "reverted", "reverted_step": step, "problem": event.get("problem")}
    elif kind == "ack" and not event.get("ok") and known.state == "waiting":
        told = {"state": "refused", "problem": event.get("problem")}
    if told:
        words = {name: event[name] for name in ("label", "who") if isinstance(event.get(name), str)}
        found[known.number] = replace(known, **told, **words)
