"""`train`, `resume` and `demo`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from darkit_nb.cli.settings import config_of
from darkit_nb.config.launched import launched_rank

if TYPE_CHECKING:
    from darkit_nb.runs import RunDirectory


def train(
    *settings: Annotated[str, Parameter(metavar="CONFIG.yaml | key=value")],
    preset: str | None = None,
    fork: str | None = None,
    trust: Annotated[bool, Parameter(negative="")] = False,
    print_config: Annotated[bool, Parameter(negative="")] = False,
    keys: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
    detach: Annotated[bool, Parameter(negative="")] = False,
    queue: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Train a spiking language model.

    Settings come from the defaults, then the file, then --preset, then key=value, each winning over the one before.
    The run writes into a folder of its own under runs_dir. Ctrl-C writes a checkpoint and stops.

    Try:

        darkit-nb train
        darkit-nb train train.steps=200 spike.num_levels=2
        darkit-nb train my.yaml --detach
        darkit-nb train my.yaml --preset spike-gpt2-nano data.dataset=text:novels/*.txt

    Args:
        settings: A YAML file, and settings with dotted keys such as train.steps=200. `--keys` lists all of them.
        preset: Model to train with fresh weights, such as spike-llama-nano.
        fork: Name of a fork: its edits are put into the model, and its settings are those to start from.
        trust: Agree to run the code of that fork, as long as no byte of it changes.
        print_config: Print the whole configuration as YAML and stop, to be saved and edited.
        keys: List every setting with its default, limits and meaning, and stop.
        quiet: Draw no progress bar.
        detach: Train in the background and return at once; the training outlives this terminal.
        queue: As --detach, when the runs before it in the same folder have ended.
    """
    from darkit_nb.config import describe_keys, dump_yaml

    if keys:
        print(describe_keys())
        return 0
    config = config_of(settings, preset, fork, trust=trust)
    if print_config:
        print(dump_yaml(config), end="")
        return 0
    if detach or queue:
        from darkit_nb.cli.running import say_state
        from darkit_nb.runs import train as start_detached

        say_state(start_detached(config, queue=queue))
        return 0
    from darkit_nb.train.launch import train as start

    return _carried_out(lambda: start(config, progress=not quiet))


def resume(
    run: str,
    /,
    *settings: Annotated[str, Parameter(metavar="key=value")],
    runs_dir: str = "runs",
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
    detach: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Go on with a run from its last complete checkpoint, or from its beginning where it has none.

    Try:

        darkit-nb resume latest
        darkit-nb resume my-run train.steps=2000

    Args:
        run: Id, name or folder of the run; `latest` is the newest.
        settings: Settings that do not change what is trained, such as train.steps=2000.
        runs_dir: Folder of runs.
        quiet: Draw no progress bar.
        detach: Train in the background and return at once; the training outlives this terminal.
    """
    from darkit_nb.runs import RunDirectory

    found = RunDirectory.open(run, runs_dir)
    if detach:
        from darkit_nb.cli.running import say_state
        from darkit_nb.runs import resume as resume_detached

        say_state(resume_detached(found, settings))
        return 0
    from darkit_nb.train.launch import resume as go_on

    return _carried_out(lambda: go_on(found, settings, runs_dir=runs_dir, progress=not quiet))


def demo(*, runs_dir: str = "runs", seed: int = 0, steps: int | None = None) -> None:
    """Two minutes from nothing to a language model that spikes, on a CPU and without a network.

    Trains on the Python standard library's own source, then prints bits per byte, generated text, firing rates and
    an energy account.

    Args:
        runs_dir: Folder of runs.
        seed: Seed of weights and data order.
        steps: Training steps; as many as fit into two minutes if not given.
    """
    from darkit_nb.cli.demo import demo as show

    show(runs_dir=runs_dir, seed=seed, steps=steps)


def _carried_out(work: Callable[[], RunDirectory]) -> int:
    """Train, and say where the run lies; of several processes the first says it, and what went wrong."""
    if launched_rank() > 0:
        from darkit_nb.train.helpers import help_quietly

        return help_quietly(work)
    run = work()
    status = run.read_status()
    reason = f" ({status.reason})" if status.reason else ""
    print(f"{status.state}{reason}: {run.root}")
    return 0
