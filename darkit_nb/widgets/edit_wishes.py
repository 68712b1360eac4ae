"""What an editor wants of a run that trains, and what the run answers, as reports."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

from darkit_nb.errors import DarkitError, PatchError, RunError
from darkit_nb.records.patch import Patch, PatchProblem
from darkit_nb.runs.metrics import Record
from darkit_nb.runs.patching import PatchRefusedError, Sent, checked, is_dry_run, send_dry_run, send_patch, send_revert
from darkit_nb.runs.run import Run
from darkit_nb.views.edit_report import EditReport, excerpts
from darkit_nb.widgets.edit_desk import Progress, refusal

PATCH_SECONDS = 300.0
_LOOK_SECONDS = 0.5


def try_out(run: Run, patch: Patch, progress: Progress) -> EditReport:
    """Have the run check an edit between two steps, and no more."""
    try:
        found = checked(_settled(run, send_dry_run(run.directory, patch), progress))
    except DarkitError as error:
        return dataclasses.replace(refusal(error, patch), title="Not tried; the run is as it was")
    report = refused(found.problems, patch)
    passed = {"title": "Checks passed in the run, which goes on as it was", "ok": True} if found.ok else {}
    facts = {name: getattr(found, name) for name in ("new", "kept", "dropped", "notes", "seconds")}
    return dataclasses.replace(report, **facts, **passed)


def put_in(run: Run, patch: Patch, progress: Progress) -> EditReport:
    """Send an edit to the run, and wait until it was taken or refused."""
    started = time.monotonic()
    try:
        number, sent = send_patch(run.directory, patch)
        _settled(run, sent, progress)
    except PatchRefusedError as error:
        problems = [PatchProblem(**_known(each)) for each in error.problems]
        return refused(problems, patch) if problems else refusal(error, patch)
    except DarkitError as error:
        return refusal(error, patch)
    taken = next(each for each in run.patches if each.number == number)
    where = "1 module" if len(patch.targets) == 1 else f"{len(patch.targets)} modules"
    return EditReport(
        title=f"Edit {number} applied to {where} after step {taken.step}",
        ok=True,
        diff=patch.diff,
        seconds=time.monotonic() - started,
    )


def take_back(run: Run, count: int) -> EditReport:
    """Have the run take its last edits out."""
    try:
        _settled(run, send_revert(run.directory, count), Progress())
    except DarkitError as error:
        return refusal(error)
    return EditReport(title=f"Took back {count} edit{'s' * (count != 1)}", ok=True)


def refused(problems: Sequence[PatchProblem], patch: Patch) -> EditReport:
    """What is wrong with an edit that was not taken."""
    title = f"Not applied: {len(problems)} problem{'s' * (len(problems) != 1)}"
    found = excerpts(problems, patch.source)
    return EditReport(title=title, ok=False, problems=problems, excerpt=found, diff=patch.diff)


def _settled(run: Run, sent: Sent, progress: Progress) -> Record:
    """Wait for the answer, telling what goes on.

    Raises:
        RunError: no answer, or it was not done.
        PatchError: nobody waits any more.
    """
    end, told = time.monotonic() + PATCH_SECONDS, ""
    while True:
        now = "Waiting for the next step…" if sent.command.command == "revert" else _waiting(run)
        if now != told:
            progress.tell(now)
            told = now
        try:
            return sent.wait(_LOOK_SECONDS)
        except PatchRefusedError:
            raise
        except RunError:
            if not run.status.active or time.monotonic() >= end:
                raise
        if progress.cancelled.is_set():
            raise _given_up(sent)


def _waiting(run: Run) -> str:
    status = run.status
    return f"Waiting for the run to try it · {status.state}, step {status.step or 0}"


def _given_up(sent: Sent) -> PatchError:
    if is_dry_run(sent.command):
        return PatchError("Nobody waits for the answer of the run any more; nothing was asked of its model.")
    return PatchError(
        "Nobody waits for the answer of the run any more; the edit may still be taken.",
        fix="look at the history, and revert it if you do not want it",
    )


def _known(problem: Mapping[str, Any]) -> dict[str, Any]:
    names = ("check", "message", "line", "expected", "received", "cause", "fix")
    return {"check": "run", "message": "", **{name: problem[name] for name in names if name in problem}}
