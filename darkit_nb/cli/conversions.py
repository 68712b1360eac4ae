"""`conversions`: those that were begun, shown, stopped, resumed, compared, written for other programs, and deleted."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

if TYPE_CHECKING:
    from darkit_nb.records.conversion_result import ConversionRow
    from darkit_nb.runs.conversion import Conversion
    from darkit_nb.runs.log import LogReader

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130
_WIDTH = 100
"""Columns in which the names of pipelines stay whole."""

_LOOK_SECONDS = 0.3

conversions = App(name="conversions", help="List, show, stop, resume, compare, export and delete conversions.")


def work(claim: Callable[[], Conversion], *, quiet: bool) -> int:
    """Convert in this process, with lines as it goes; returns the exit status.

    Args:
        claim: gives the conversion; of processes launched together only the first calls it, and only it speaks.
        quiet: print only the result.
    """
    from darkit_nb.config.launched import launched_rank
    from darkit_nb.convert.worker import claimed, help_first, work_on
    from darkit_nb.runs.queue import advance_queue

    if launched_rank() > 0:
        return help_first()
    conversion = claimed(lambda: _idle(claim()))
    try:
        work_on(conversion, None if quiet else lambda line: print(line, flush=True))
    except KeyboardInterrupt:
        now = conversion.progress()
        print(f"\nstopped: {now.blocks_done} of {now.blocks or '?'} blocks are kept in {conversion.out}.conversion")
        print(f"go on with: darkit-nb conversions resume {shlex.quote(str(conversion.out))}")
        return EXIT_INTERRUPTED
    finally:
        advance_queue(conversion.root.parent)  # somebody may have waited for us
    if rows := conversion.rows():
        print(_result(rows))
    print(f"finished: {conversion.out}")
    return 0


def refuse_several(what: str) -> None:
    """Refuse what processes launched together cannot do.

    Raises:
        RunError: there are several.
    """
    from darkit_nb.config.launched import launched_processes
    from darkit_nb.errors import RunError

    if launched_processes() > 1:
        raise RunError(
            f"{what} is for one process.",
            expected="a conversion in the foreground, which all processes launched together work on",
            received=f"{launched_processes()} processes",
            fix=f"leave out {what}, or start without accelerate launch or torchrun",
        )


def _idle(conversion: Conversion) -> Conversion:
    """It, if nobody is at work on it and it is not done."""
    from darkit_nb.runs.launcher import refuse_active

    conversion.refuse_finished()
    refuse_active(conversion.directory)
    return conversion


def follow(made: Sequence[Conversion], logs: Sequence[LogReader], *, quiet: bool) -> int:
    """Watch queued conversions until all have ended, then put them side by side; returns the exit status.

    Args:
        made: in the order of the queue.
        logs: of each, at the place from which its lines are new.
        quiet: print only the result.
    """
    failed = False
    try:
        for each, log in zip(made, logs, strict=True):
            failed |= not _follow_one(each, log, quiet=quiet)
    except KeyboardInterrupt:
        for each in reversed(made):  # those that wait first, so that none begins when the one at work ends
            each.stop(wait_s=60)
        left = sum(not each.done for each in made)
        print(f"\nstopped: {left} of {len(made)} conversions are not done; the same command does what is left")
        return EXIT_INTERRUPTED
    rows = _rows(made)
    if rows:
        print(_result(rows))
    return EXIT_ERROR if failed else 0


def _follow_one(conversion: Conversion, log: LogReader, *, quiet: bool) -> bool:
    """Print what one says until it ends; whether it was done."""
    from darkit_nb.errors import RunError

    print(f"{conversion.request.name}: {conversion.out}", flush=True)
    ended = False
    while not ended:
        try:
            conversion.wait(_LOOK_SECONDS)
            ended = True
        except RunError as error:
            ended = conversion.state not in ("queued", "starting", "running")
            if ended:
                print(f"darkit-nb: {error}", flush=True)
        text = log.read_new()
        if text and not quiet:
            print(text, end="", flush=True)
    return conversion.done


def _rows(found: Sequence[Conversion]) -> list[ConversionRow]:
    """Every model once, those converted behind the float ones."""
    rows = {row.path: row for each in found for row in each.rows()}
    return sorted(rows.values(), key=lambda row: row.cost is not None)


def _result(rows: Sequence[ConversionRow], against: str | None = None) -> str:
    from darkit_nb.evaluate import paired
    from darkit_nb.views.conversion_table import result_view

    return result_view(rows, None if against is None else paired.against(rows, against)).to_text(_WIDTH)


@conversions.default
def list_command(folder: str = ".") -> None:
    """List the conversions whose models lie in a folder.

    Args:
        folder: Where to look.
    """
    from darkit_nb.runs.conversion import list_conversions

    found = list_conversions(folder)
    for each in found:
        print(each)
    if not found:
        print(f"No conversion in {folder}. Begin one: darkit-nb convert stdlib-llama spiking")


@conversions.command(name="show")
def show_command(out: str, /, *, format: Literal["text", "html", "json"] = "text") -> None:
    """Show a conversion: plan, blocks, every layer's error, and the result.

    Args:
        out: Folder of the converted model.
        format: text, html, or json.
    """
    from darkit_nb.runs.conversion import Conversion
    from darkit_nb.views.conversion_card import ConversionCard

    card = ConversionCard(Conversion.open(out).progress())
    print(card.to_text() if format == "text" else card.to_html() if format == "html" else card.to_json())


@conversions.command(name="stop")
def stop_command(out: str, /, *, wait: float = 60.0) -> None:
    """Stop a conversion now, or take it out of the queue; the blocks that are done stay.

    Args:
        out: Folder of the converted model.
        wait: Seconds to wait for its end; 0 only asks.
    """
    from darkit_nb.runs.conversion import Conversion

    found = Conversion.open(out)
    before = found.state
    if not found.stop(wait_s=wait) and before != "queued":
        print(f"nobody is at work on it: {found}")
    else:
        print(found)


@conversions.command(name="resume")
def resume_command(
    out: str,
    /,
    *,
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
    detach: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Go on with a conversion after the last block that was finished.

    Args:
        out: Folder of the converted model.
        quiet: Print only the result.
        detach: Convert in the background and return at once.
    """
    from darkit_nb.runs.conversion import Conversion

    if detach:
        refuse_several("--detach")
        print(Conversion.open(out).resume())
        return 0
    return work(lambda: Conversion.open(out), quiet=quiet)


@conversions.command(name="compare")
def compare_command(
    *outs: str, by: Literal["ace", "mean_steps", "storage_bits", "energy_pj"] = "ace", against: str | None = None
) -> None:
    """Put conversions side by side: quality with its interval, cost, and quality against cost.

    Two models may both be close to float and yet differ for certain, or not: --against puts them in pairs.

    Try:

        darkit-nb conversions compare converted --against quarot

    Args:
        outs: Folders of converted models, or one folder that holds them; this one if none is given.
        by: What the second table is sorted by.
        against: Pipeline or folder of one of the models: a column then says what every other one costs more than it.
    """
    from darkit_nb.runs.conversion import Conversion, list_conversions
    from darkit_nb.views.conversion_points import operation_points

    inside = list_conversions(outs[0] if outs else ".") if len(outs) < 2 else []
    shown = _rows(inside or [Conversion.open(out) for out in outs])
    if not shown:
        print("Nothing is scored here yet. darkit-nb convert stdlib-llama spiking --compare rtn,quarot")
        return
    print(_result(shown, against))
    print(operation_points(shown, by))


@conversions.command(name="export")
def export_command(out: str, target: str, /, *, zero_points: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Write a converted model in the layout of compressed-tensors, for programs that know no spikes.

    Args:
        out: Folder of the converted model.
        target: Folder to make.
        zero_points: Keep narrower codes with zero points, for programs that read those.
    """
    from darkit_nb.convert.export import export_compressed_tensors

    print(f"written: {export_compressed_tensors(out, target, zero_points=zero_points)}")


@conversions.command(name="delete")
def delete_command(out: str, /, *, yes: Annotated[bool, Parameter(alias="-y", negative="")] = False) -> int:
    """Delete a conversion for good: the converted model, the blocks that are done, and everything measured.

    One that is at work is refused; one that waits is taken out of the queue with it. The float model stays.

    Args:
        out: Folder of the converted model.
        yes: Do not ask.
    """
    from darkit_nb.cli.asking import agreed
    from darkit_nb.runs.conversion import Conversion
    from darkit_nb.runs.removal import conversion_to_delete

    found = Conversion.open(out)
    folders = conversion_to_delete(found.root)[1]
    held = f"{found.state}, {len(found.reports())} blocks, {', '.join(path.name for path in folders)}"
    again = f"darkit-nb conversions delete {shlex.quote(str(found.out))} --yes"
    if not yes and not agreed(str(found.out), held, folders, again=again):
        return 1
    print(f"deleted: {', '.join(map(str, found.delete()))}")
    return 0
