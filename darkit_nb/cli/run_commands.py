"""`runs` and `import`: list, show, delete, take in."""

from __future__ import annotations

import shlex
import sys
from datetime import datetime
from typing import Annotated, Any

from cyclopts import App, Parameter

runs = App(name="runs", help="List runs, or show one.", result_action="return_value")

_STYLES = {
    "queued": "cyan",
    "starting": "green",
    "running": "green",
    "finished": "blue",
    "stopped": "yellow",
    "failed": "red",
    "lost": "red",
}


@runs.command(name="list")
@runs.default
def list_command(*, runs_dir: str = "runs") -> None:
    """List all runs of a folder, the newest last.

    Args:
        runs_dir: Folder of runs.
    """
    from rich.console import Console
    from rich.table import Table

    from darkit_nb.runs import list_runs

    found = list_runs(runs_dir)
    if not found:
        print(f"There are no runs in {runs_dir}. `darkit-nb demo` makes one.")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("run", overflow="fold")
    table.add_column("state")
    for heading in ("step", "loss", "bits/byte"):
        table.add_column(heading, justify="right")
    for run in found:
        table.add_row(run.id, *_row(run))
    # Through a pipe nothing is folded, so that ids can be searched and cut.
    Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(table)


@runs.command(name="show")
def show_command(run: str, /, *, runs_dir: str = "runs") -> None:
    """Show one run: its state, progress, last measurements, checkpoints and command.

    Args:
        run: Id, name or folder of the run; `latest` is the newest.
        runs_dir: Folder of runs.
    """
    from darkit_nb.runs import RunDirectory

    found = RunDirectory.open(run, runs_dir)
    status = found.read_status()
    last = _last_values(found)
    lines = {
        "run": found.id,
        "folder": str(found.root.resolve()),
        "state": _state(status) + (f" ({status.reason})" if status.reason else ""),
        "progress": f"{_or_dash(status.step)} of {_or_dash(status.total_steps)} steps, attempt {status.attempt}",
        "started": _clock(status.started),
        "ended": _clock(status.ended),
        "checkpoints": ", ".join(str(checkpoint.step) for checkpoint in found.checkpoints()) or "none",
        **{name: f"{value:.4f}" for name, value in last.items()},
        "command": (found.root / "command.txt").read_text(encoding="utf-8").strip(),
    }
    width = max(map(len, lines))
    print("\n".join(f"{name:{width}}  {value}" for name, value in lines.items() if value))


@runs.command(name="delete")
def delete_command(
    run: str, /, *, yes: Annotated[bool, Parameter(alias="-y", negative="")] = False, runs_dir: str = "runs"
) -> int:
    """Delete a run with its checkpoints and everything else in its folder, for good.

    A run that is at work is refused; one that waits is taken out of the queue with it.

    Args:
        run: Id or name of the run; no path.
        yes: Do not ask.
        runs_dir: Folder of runs.
    """
    from darkit_nb.cli.asking import agreed
    from darkit_nb.runs.removal import delete_run, run_to_delete

    found = run_to_delete(run, runs_dir)
    held = f"{_state(found.read_status())}, {len(found.checkpoints())} checkpoints"
    where = "" if runs_dir == "runs" else f" --runs-dir {shlex.quote(runs_dir)}"
    again = f"darkit-nb runs delete {found.id} --yes{where}"
    if not yes and not agreed(str(found.root), held, [found.root], again=again):
        return 1
    print(f"deleted: {delete_run(found.id, runs_dir)}")
    return 0


def import_command(
    source: str,
    /,
    *,
    name: str | None = None,
    runs_dir: str = "runs",
    drop_pickles: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Take in a checkpoint or a run from elsewhere, as a run of its own.

    Accepts a model folder of transformers, the folder of a run, or a .zip or .tar archive of either. Weights must be
    safetensors; links, paths that lead outside and pickles are refused.

    Try:

        darkit-nb import ~/Downloads/my-model.zip --name borrowed

    Args:
        source: Folder or archive.
        name: Name of the run; derived from the source if not given.
        runs_dir: Folder of runs.
        drop_pickles: Leave pickles out instead of refusing the source.
    """
    from darkit_nb.runs import import_run

    run = import_run(source, runs_dir, name, drop_pickles=drop_pickles)
    left_out = run.read_events()[-1]["left_out"]
    print(f"imported as {run.root}")
    if left_out:
        print(f"left out, as nothing here reads them: {', '.join(left_out[:8])}{' …' if len(left_out) > 8 else ''}")


def _row(run: Any) -> tuple[str, ...]:
    from darkit_nb.errors import DarkitError

    try:
        status = run.read_status()
        last = _last_values(run)
    except DarkitError as error:
        return (f"[red]{error.message}[/]", "", "", "")
    step = _or_dash(status.step) + (f"/{status.total_steps}" if status.total_steps else "")
    state = f"[{_STYLES.get(status.state, 'default')}]{_state(status)}[/]"
    return state, step, *(f"{last[name]:.3f}" if name in last else "–" for name in ("loss", "bits per byte"))


def _state(status: Any) -> str:
    """The state; of one that waits, its place."""
    return status.state if status.place is None else f"{status.state}, place {status.place}"


def _last_values(run: Any) -> dict[str, float]:
    """The last training loss and validation score of a run."""
    found: dict[str, float] = {}
    for record in run.read_metrics():
        if record["kind"] == "train" and isinstance(record.get("loss"), float):
            found["loss"] = record["loss"]
        if record["kind"] == "evaluation" and isinstance(record.get("bits_per_byte"), float):
            found["bits per byte"] = record["bits_per_byte"]
    return found


def _or_dash(value: int | None) -> str:
    return "–" if value is None else str(value)


def _clock(time: float | None) -> str:
    return "" if time is None else datetime.fromtimestamp(time).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
