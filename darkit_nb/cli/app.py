"""The application: its commands, and what errors look like."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from darkit_nb import __version__
from darkit_nb.cli.bench import bench
from darkit_nb.cli.conversions import conversions
from darkit_nb.cli.convert import convert
from darkit_nb.cli.data import data
from darkit_nb.cli.doctor import doctor
from darkit_nb.cli.forks import fork
from darkit_nb.cli.lab import lab
from darkit_nb.cli.models import evaluate, generate
from darkit_nb.cli.run_commands import import_command, runs
from darkit_nb.cli.running import stop
from darkit_nb.cli.training import demo, resume, train
from darkit_nb.cli.tree import tree
from darkit_nb.errors import DarkitError

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141


def make_app() -> App:
    """The application with all its commands."""
    app = App(
        name="darkit-nb",
        help="Build, train and watch spiking large language models.",
        version=__version__,
        help_format="plaintext",
        help_epilogue="`darkit-nb COMMAND --help` explains one command. Start with `darkit-nb demo`.",
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    # In the order of `--help`. These modules import next to nothing until a command runs.
    for order, command in enumerate(
        (
            demo,
            lab,
            train,
            resume,
            stop,
            generate,
            evaluate,
            convert,
            conversions,
            tree,
            runs,
            fork,
            import_command,
            data,
            bench,
            doctor,
        )
    ):
        if isinstance(command, App):
            command.sort_key = order
            app.command(command)
        else:
            app.command(command, name=command.__name__.removesuffix("_command"), sort_key=order)
    return app


def run(tokens: Sequence[str]) -> int:
    """Run one command line.

    Args:
        tokens: The arguments after `darkit-nb`.

    Returns: The exit status: 0, 2 after an error a person can mend, 130 after Ctrl-C. Anything unforeseen is a bug
        of this package and is raised with its traceback.
    """
    try:
        result = make_app()(list(tokens), exit_on_error=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except CycloptsError:
        return EXIT_ERROR
    except DarkitError as error:
        print(f"darkit-nb: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("\ndarkit-nb: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # `darkit-nb runs | head`: the reader has enough. Python must not complain about it at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE_CLOSED


def main() -> None:
    """Entry point of the `darkit-nb` script."""
    sys.exit(run(sys.argv[1:]))
