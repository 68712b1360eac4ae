"""`python -m darkit_nb.train.worker FOLDER [key=value …]`: the trainer of a run whose folder exists already.

A supervisor starts it; what goes wrong ends up in the run's status, where a notebook finds it with its fix.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

from darkit_nb.errors import DarkitError
from darkit_nb.runs import RunDirectory
from darkit_nb.runs.launch_record import read_launch
from darkit_nb.runs.resuming import plan_resume
from darkit_nb.train.attempt import Attempt, begin
from darkit_nb.train.control import interruptible

EXIT_ERROR = 2


def train_in(run: RunDirectory, overrides: Sequence[str] = ()) -> None:
    """Train a run in this process, from its last checkpoint where it has one.

    Args:
        run: a run nobody is at work on.
        overrides: `key=value` settings of this attempt alone.

    Raises:
        DarkitError: whatever is wrong; it also stands in the run's status.
        KeyboardInterrupt: it was stopped before its first step.
    """
    launch = read_launch(run.root)
    number = launch.attempt if launch and launch.ended is None else None
    with interruptible(), begin(run, number=number) as attempt:
        _train(attempt, overrides)


def _train(attempt: Attempt, overrides: Sequence[str]) -> None:
    with attempt.control.preparing():
        config, checkpoint = plan_resume(attempt.run, overrides)
        attempt.preparing("loading libraries")
        # Here, so that the run says that it is starting before torch takes its seconds.
        from darkit_nb.train.edits import edits_of, keep_fork
        from darkit_nb.train.fit import fit
        from darkit_nb.train.launch import check_model_memory, start_processes
        from darkit_nb.train.progress import TerminalProgress
        from darkit_nb.train.session import check_same_architecture, open_session

        state = start_processes(config)
        check_model_memory(config)
        edits = edits_of(config, attempt.run, checkpoint)
        keep_fork(attempt.run, edits)
        session = open_session(config, attempt.preparing, edits)
        if checkpoint:
            check_same_architecture(session.model, checkpoint.path)
    with TerminalProgress(config.train.steps, start=checkpoint.step if checkpoint else 0) as display:
        fit(attempt, session, state, display, resume_from=checkpoint)


def main(arguments: Sequence[str]) -> int:
    """Entry point; returns the exit code."""
    folder, *overrides = arguments
    try:
        train_in(RunDirectory(folder), overrides)
    except KeyboardInterrupt:
        print("stopped before the first step", file=sys.stderr)
    except DarkitError as error:
        print(error, file=sys.stderr)
        return EXIT_ERROR
    except Exception:  # noqa: BLE001 - already in the run's status; the log gets the place
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
