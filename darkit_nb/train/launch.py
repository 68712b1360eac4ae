"""Start a training, or go on with one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import set_seed
from transformers.utils import logging as hf_logging

from darkit_nb.config import RunConfig, command_line
from darkit_nb.config.cores import available_cores
from darkit_nb.config.memory import check_memory
from darkit_nb.runs import RunDirectory
from darkit_nb.runs.checks import model_shape
from darkit_nb.runs.launcher import refuse_active
from darkit_nb.runs.resuming import plan_resume
from darkit_nb.train.arguments import resolve_device
from darkit_nb.train.attempt import begin
from darkit_nb.train.edits import edits_of, keep_fork
from darkit_nb.train.fit import fit
from darkit_nb.train.group import leave_at_exit, stay_at_exit
from darkit_nb.train.one_voice import one_voice
from darkit_nb.train.processes import from_first
from darkit_nb.train.progress import TerminalProgress
from darkit_nb.train.session import check_same_architecture, open_session


def train(config: RunConfig, *, progress: bool = True) -> RunDirectory:
    """Train a new run in this process and return its directory.

    Started by `accelerate launch` or `torchrun`, every process calls this and one of them writes.

    Args:
        config: what to train.
        progress: draw a progress bar on standard error.

    Raises:
        DarkitError: whatever is wrong with the configuration, data, model or memory, before a run directory exists;
            or TrainingError when training had to end.
    """
    state = start_processes(config)
    display = TerminalProgress(config.train.steps, enabled=progress and state.is_main_process)
    with one_voice(), display:
        check_model_memory(config)
        with state.main_process_first():
            session = open_session(config, display.preparing)
        made = from_first(lambda: str(RunDirectory.create(config, command=command_line(config)).root))
        run = RunDirectory.open(made)
        if state.is_main_process:
            keep_fork(run, session.edits)
        with begin(run, active=state.is_main_process) as attempt, one_voice():
            fit(attempt, session, state, display, resume_from=None)
    leave_at_exit()
    return run


def resume(
    run: RunDirectory | str | Path, overrides: Sequence[str] = (), *, runs_dir: str = "runs", progress: bool = True
) -> RunDirectory:
    """Go on with a run from its last complete checkpoint, or from its beginning where it has none.

    Args:
        run: the run, its folder or its id.
        overrides: `key=value` for settings that do not change what is trained, such as `train.steps=2000`.
        runs_dir: where ids are looked up.
        progress: draw a progress bar on standard error.

    Raises:
        RunError: a run that is still going or has done all its steps, or a checkpoint of another architecture.
        ConfigError: an override that would make it another training.
    """
    run = run if isinstance(run, RunDirectory) else RunDirectory.open(run, runs_dir=runs_dir)
    config, checkpoint = plan_resume(run, overrides)
    refuse_active(run)
    state = start_processes(config)
    done = checkpoint.step if checkpoint else 0
    display = TerminalProgress(config.train.steps, enabled=progress and state.is_main_process, start=done)
    with one_voice(), display:
        check_model_memory(config)
        edits = edits_of(config, run, checkpoint)
        with state.main_process_first():
            session = open_session(config, display.preparing, edits)
        if checkpoint:
            check_same_architecture(session.model, checkpoint.path)
        with begin(run, active=state.is_main_process) as attempt, one_voice():
            fit(attempt, session, state, display, resume_from=checkpoint)
    leave_at_exit()
    return run


def check_model_memory(config: RunConfig) -> None:
    """Refuse a preset that cannot fit before anything is built.

    Raises:
        ConfigError: with the estimate and what to lower.
    """
    shape = model_shape(config)
    if shape is None:
        return
    available = None
    if resolve_device(config.train) == "cuda":
        available = torch.cuda.mem_get_info()[0]
    check_memory(config, shape, available_bytes=available)


def start_processes(config: RunConfig) -> PartialState:
    """Threads, device and seed of this process; the others of a distributed run are found."""
    _quieten()
    torch.set_num_threads(config.train.num_threads or min(torch.get_num_threads(), available_cores()))
    state = PartialState(cpu=resolve_device(config.train) == "cpu")
    stay_at_exit()
    set_seed(config.seed)
    return state


def _quieten() -> None:
    """Keep libraries' progress bars and advice out of our own display; errors still come through."""
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    logging.getLogger("accelerate").setLevel(logging.ERROR)
