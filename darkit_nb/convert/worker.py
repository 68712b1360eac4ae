"""`python -m darkit_nb.convert.worker FOLDER`: works on the conversion whose folder exists already.

A supervisor starts it, or a command line calls `work_on`; what goes wrong ends up in the conversion's status, where a
notebook finds it with its fix.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress

from darkit_nb.config.launched import launched_processes, launched_rank
from darkit_nb.convert.listener import Unheard
from darkit_nb.errors import DarkitError
from darkit_nb.records.conversion import BlockReport, ConversionPlan
from darkit_nb.records.conversion_result import ConversionRow
from darkit_nb.runs.conversion import Conversion
from darkit_nb.runs.conversion_files import read_rows, write_rows
from darkit_nb.runs.launch_record import read_launch
from darkit_nb.train.attempt import Attempt, begin
from darkit_nb.train.control import interruptible
from darkit_nb.train.helpers import help_quietly

EXIT_ERROR = 2
_SCORING_SECONDS = 0.5
"""Between two words about how far the scoring is."""

_PATIENCE_SECONDS = 60.0
"""For a stop, where several processes work: the others are first to come to their next exchange."""

Say = Callable[[str], None]


def work_on(conversion: Conversion, say: Say | None = None) -> None:
    """Do a conversion in this process, from where an earlier start left it; or with the others launched beside it.

    Args:
        conversion: one nobody is at work on.
        say: gets lines for people.

    Raises:
        DarkitError: whatever is wrong, in any process; it also stands in the status.
        KeyboardInterrupt: it was stopped; the blocks that are done stay.
    """
    run = conversion.directory
    launch = read_launch(run.root)
    number = launch.attempt if launch and launch.ended is None else None
    first = launched_rank() == 0
    taken_on = begin(run, active=first, number=number)
    with interruptible(), in_company(), taken_on as attempt, attempt.control.preparing():
        if launched_processes() > 1:
            attempt.control.patience_seconds = _PATIENCE_SECONDS
        attempt.preparing("loading libraries")
        # Here, so that it says that it is starting before torch takes its seconds.
        from darkit_nb.convert.job import run_job

        listener = _Recorder(attempt, say or _quiet) if first else Unheard()
        run_job(conversion.request, conversion.out, listener, read_rows(run.root))


def claimed(claim: Callable[[], Conversion]) -> Conversion:
    """The conversion that the first of the processes launched here claims, in all of them; an error there is raised in
    all.
    """
    if launched_processes() == 1:
        return claim()
    from darkit_nb.train.processes import from_first

    with interruptible(), in_company():
        return Conversion(from_first(lambda: str(claim().root)))


def help_first() -> int:
    """The part of all processes but the first, which speaks for them; returns the exit code."""
    return help_quietly(lambda: work_on(claimed(_by_the_first)))


def in_company() -> AbstractContextManager[None]:
    """A group with the processes launched beside this one; nothing for one alone, which then waits for no library."""
    if launched_processes() == 1:
        return nullcontext()
    from darkit_nb.train.processes import together

    return together()


def _by_the_first() -> Conversion:
    raise AssertionError("only the first process claims")


class _Recorder:
    """Writes how a conversion goes into its folder."""

    def __init__(self, attempt: Attempt, say: Say) -> None:
        self._attempt, self._run, self._root, self._say = attempt, attempt.run, attempt.run.root, say
        self._spoke = 0.0

    def stage(self, text: str) -> None:
        """Into the status."""
        self._attempt.message = text
        self._write(windows_done=None, windows=None)

    def plan(self, plan: ConversionPlan) -> None:
        """Into the events; from now on it is running."""
        self._attempt.state, self._attempt.total_steps, self._attempt.step = "running", plan.blocks, 0
        self._run.append_event("plan", plan=plan.to_dict())
        self._say(plan.text)

    def block(self, report: BlockReport) -> None:
        """Into the metrics, one line a block."""
        total = self._attempt.total_steps
        self._run.append_metrics({"kind": "block", "step": report.index, "report": report.to_dict()})
        self._attempt.step = report.index + 1
        self._attempt.message = None if self._attempt.step == total else f"block {report.index + 2} of {total}"
        self._attempt.say()
        how = "taken over" if report.resumed else f"{report.seconds:.1f} s"
        self._say(f"block {report.index + 1} of {total}: error {100 * report.error:.2f} %, {how}")

    def scoring(self, done: int, windows: int) -> None:
        """Into the status, twice a second at most."""
        if done == windows or time.monotonic() - self._spoke > _SCORING_SECONDS:
            self._spoke = time.monotonic()
            self._write(windows_done=done, windows=windows)

    def row(self, row: ConversionRow) -> None:
        """Into `rows.json`, beside those there are."""
        others = [each for each in read_rows(self._root) if each.name != row.name]
        write_rows(self._root, [*others, row])
        delta = "" if row.delta is None else f", {row.delta} bits per byte (± half of the 95 % interval)"
        self._say(f"{row.name}: perplexity {row.losses.perplexity:.4g}{delta}")

    def _write(self, **fields: int | None) -> None:
        attempt = self._attempt
        with suppress(DarkitError):  # a full disk is met, and explained, where something is saved
            self._run.write_status(
                state=attempt.state,
                step=attempt.step,
                total_steps=attempt.total_steps,
                message=attempt.message,
                **fields,
            )


def _quiet(line: str) -> None:
    """Nobody reads along."""


def _print(line: str) -> None:
    print(line, flush=True)


def main(arguments: Sequence[str]) -> int:
    """Entry point; returns the exit code."""
    try:
        work_on(Conversion(arguments[0]), _print)
    except KeyboardInterrupt:
        print("stopped; the blocks that are done stay", file=sys.stderr)
    except DarkitError as error:
        print(error, file=sys.stderr)
        return EXIT_ERROR
    except Exception:  # noqa: BLE001 - already in the status; the log gets the place
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
