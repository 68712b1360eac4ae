"""`stop`, and the commands of `runs` that drive trainings in the background: `queue`, `compare`, `end`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from darkit_nb.cli.run_commands import runs

if TYPE_CHECKING:
    from darkit_nb.runs import Run

WAIT_SECONDS = 60.0


def stop(run: str = "latest", /, *, runs_dir: str = "runs", wait: float = WAIT_SECONDS) -> None:
    """Stop a training at its next step, with a checkpoint; take a queued one out of the queue.

    Args:
        run: Id, name or folder of the run; `latest` is the newest.
        runs_dir: Folder of runs.
        wait: Seconds to wait for its end; 0 only asks.
    """
    from darkit_nb.runs import open_run

    found = open_run(run, runs_dir)
    before = found.state
    if found.stop(wait_s=wait) or before == "queued":
        say_state(found)
    else:
        print(f"{found.id} is {before}; there is nothing to stop.")


@runs.command(name="queue")
def queue_command(*, slots: str | None = None, runs_dir: str = "runs") -> None:
    """Show which runs wait for their turn, or say how many are trained at once.

    Args:
        slots: Number of runs at once, or `fit`: as many as memory allows.
        runs_dir: Folder of runs.
    """
    from darkit_nb.runs.queue import queued_runs, read_slots, set_slots

    if slots is not None:
        set_slots(runs_dir, int(slots) if slots.isdigit() else slots)  # pyright: ignore[reportArgumentType] - checked there
    waiting = queued_runs(runs_dir)
    print(f"{read_slots(runs_dir)} at once, {len(waiting)} waiting")
    for place, run in enumerate(waiting, 1):
        print(f"{place:3}  {run.id}")


@runs.command(name="compare")
def compare_command(*runs: str, runs_dir: str = "runs") -> None:
    """Put runs side by side: the settings in which they differ, and their scores.

    Args:
        runs: Ids, names or folders of runs.
        runs_dir: Folder of runs.
    """
    from darkit_nb.runs import compare_runs

    print(compare_runs(runs, runs_dir))


@runs.command(name="end")
def end_command(run: str, /, *, runs_dir: str = "runs") -> None:
    """End a training that goes on although its supervisor was killed; it writes a checkpoint first.

    Args:
        run: Id, name or folder of the run.
        runs_dir: Folder of runs.
    """
    from darkit_nb.runs import open_run

    found = open_run(run, runs_dir)
    if found.end_orphan():
        say_state(found)
    else:
        print(f"{found.id} is {found.state}; no process of it has lost its supervisor.")


def say_state(run: Run) -> None:
    """Print what a run is doing, and its folder."""
    status = run.status
    reason = f" ({status.reason})" if status.reason else ""
    print(f"{status.state}{reason}: {run.root}")
