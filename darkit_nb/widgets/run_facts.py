"""What a panel reads once from a run's folder: settings, command, checkpoints."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from darkit_nb.config.files import changed_keys
from darkit_nb.config.yaml_text import inline
from darkit_nb.errors import DarkitError
from darkit_nb.runs import Run, RunDirectory
from darkit_nb.runs.checkpoints import SEAL
from darkit_nb.runs.files import from_json
from darkit_nb.runs.status import RunStatus

_ENDINGS = {
    "lost": "Resume goes on from the newest checkpoint, or from the beginning where there is none",
    "failed": "mend what the log names, then Resume",
}


def describe(run: Run) -> dict[str, Any]:
    """Name, folder, command, and the settings that differ from the defaults; a damaged file says what is wrong."""
    about: dict[str, Any] = {"id": run.id, "name": run.name, "folder": str(run.root), "command": "", "settings": []}
    with suppress(OSError, UnicodeDecodeError):
        about["command"] = (run.root / "command.txt").read_text(encoding="utf-8").strip()
    try:
        config = run.config
        about["steps"] = config.train.steps
        about["settings"] = [[key, inline(value)] for key, value in changed_keys(config).items() if key != "name"]
    except DarkitError as error:
        about["problem"] = error.message
    return about


def checkpoint_rows(run: RunDirectory) -> list[dict[str, Any]]:
    """Step, size, time and path of every complete checkpoint, newest first."""
    rows = []
    with suppress(OSError):
        for checkpoint in reversed(run.checkpoints()):
            with suppress(OSError, ValueError, KeyError, AttributeError):
                seal = from_json((checkpoint.path / SEAL).read_bytes())
                size = sum(seal["files"].values())
                rows.append(
                    {"step": checkpoint.step, "bytes": size, "time": seal["time"], "path": str(checkpoint.path)}
                )
    return rows


def ending(status: RunStatus, state: str, reason: str | None) -> dict[str, str] | None:
    """Why a run failed or was lost, and what to do, as an error box shows it; None for all other states."""
    if state not in _ENDINGS:
        return None
    problem = {key: str(text) for key, text in (status.problem or {}).items() if text and key != "log"}
    message = problem.get("message") or f"This run is {state}: {reason or 'nobody wrote why'}."
    fix = problem.get("fix") or _ENDINGS[state]
    if status.orphan_pid is not None:
        fix = "“End leftover process” lets it write a checkpoint and end; Resume does that too, and then goes on"
    return {**problem, "message": message, "fix": fix}
