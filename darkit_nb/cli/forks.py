"""`fork`: keep the edits of a run under a name, look at forks, and agree to run code from elsewhere."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Annotated

from cyclopts import App, Parameter

from darkit_nb.errors import TrustError

fork = App(name="fork", help="List forks, show or save one, or trust one from elsewhere.", result_action="return_value")


@fork.command(name="list")
@fork.default
def list_command(*, runs_dir: str = "runs") -> None:
    """List the forks beside a folder of runs.

    Args:
        runs_dir: Folder of runs; forks lie in `forks` beside it.
    """
    from rich.console import Console
    from rich.table import Table

    from darkit_nb.edit.fork import Fork, forks_beside
    from darkit_nb.edit.fork_files import list_folders
    from darkit_nb.edit.trust import is_trusted
    from darkit_nb.errors import DarkitError

    place = forks_beside(runs_dir)
    folders = list_folders(place)
    if not folders:
        print(f"There are no forks in {place}. `darkit-nb fork save RUN NAME` makes one of a run's edits.")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("fork", "edits", "base", "from", "made", "trusted"):
        table.add_column(heading, overflow="fold")
    for folder in folders:
        try:
            found = Fork.read(folder.name, forks_dir=place)
        except DarkitError as error:
            table.add_row(folder.name, error.message)
            continue
        made = f"{datetime.fromtimestamp(found.created):%Y-%m-%d %H:%M}"
        edits = f"{len(found.in_effect)} of {len(found.patches)}"
        trusted = "yes" if is_trusted(found.digest) else "no"
        table.add_row(found.name, edits, found.base, found.origin or "–", made, trusted)
    Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(table)


@fork.command(name="show")
def show_command(name: str, /, *, runs_dir: str = "runs") -> None:
    """Show what a fork, a model or a run holds: every edit with its diff, and the hashes. Nothing in it is run.

    Args:
        name: Name or folder of a fork, folder of a model, or a run.
        runs_dir: Folder of runs; forks lie in `forks` beside it.
    """
    from darkit_nb.edit.agree import find_code
    from darkit_nb.edit.fork import forks_beside

    code = find_code(name, forks_dir=forks_beside(runs_dir), runs_dir=runs_dir)
    print(f"{code.what}, {'trusted here' if code.trusted else 'not trusted here'}\n\n{code.contents}")


@fork.command(name="save")
def save_command(
    run: str,
    name: str,
    /,
    *,
    note: str = "",
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    runs_dir: str = "runs",
) -> None:
    """Keep the edits of a run, and the steps at which they were made, as a fork.

    Args:
        run: Id, name or folder of the run; `latest` is the newest.
        name: What to call the fork.
        note: What to say about it.
        overwrite: Replace a fork of that name.
        runs_dir: Folder of runs.
    """
    from darkit_nb.runs import open_run

    saved = open_run(run, runs_dir).save_fork(name, note=note, overwrite=overwrite)
    print(f"{saved.folder}\n\n{saved.contents}")


@fork.command(name="trust")
def trust_command(
    name: str, /, *, yes: Annotated[bool, Parameter(alias="-y", negative="")] = False, runs_dir: str = "runs"
) -> None:
    """Show the code in a fork, a model or a run from elsewhere, and agree to run it as long as no byte changes.

    Args:
        name: Name or folder of a fork, folder of a model, or a run.
        yes: Agree without being asked.
        runs_dir: Folder of runs; forks lie in `forks` beside it.
    """
    from darkit_nb.edit.agree import find_code
    from darkit_nb.edit.fork import forks_beside

    code = find_code(name, forks_dir=forks_beside(runs_dir), runs_dir=runs_dir)
    if code.trusted:
        print(f"{code.what} is trusted already.")
        return
    print(f"{code.what} contains:\n\n{code.contents}\n")
    if not yes and not _agreed():
        raise TrustError(
            f"{code.what} stays untrusted.", expected="yes", fix=f"darkit-nb fork trust {name} --yes, if you trust it"
        )
    code.agree()
    print(f"{code.what} is trusted here from now on.")


def _agreed() -> bool:
    """Ask, where there is somebody who can answer."""
    return sys.stdin.isatty() and input("Run this code on this machine? [y/N] ").strip().lower() in ("y", "yes")
