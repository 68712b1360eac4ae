"""Start a training, or go on with one."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, set_seed
from transformers.trainer import OPTIMIZER_NAME
from transformers.utils import logging as hf_logging

from darkit_nb.config import RunConfig, command_line, parse_overrides
from darkit_nb.config.cores import available_cores
from darkit_nb.config.memory import check_memory
from darkit_nb.errors import ConfigError, DarkitError, RunError
from darkit_nb.ops.backend import resolve_backend
from darkit_nb.plugins import registry
from darkit_nb.runs import Checkpoint, RunDirectory
from darkit_nb.train.arguments import resolve_device
from darkit_nb.train.progress import TerminalProgress
from darkit_nb.train.recorder import RunRecorder, heartbeat, stop_on_signals
from darkit_nb.train.session import Session, check_same_architecture, open_session, spike_probe
from darkit_nb.train.trainer import RunTrainer

_CHANGEABLE_ON_RESUME = (
    "train.steps",
    "train.max_seconds",
    "train.num_threads",
    "train.tensorboard",
    "checkpoint.",
    "evaluation.",
    "monitor.",
)


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
    state = _start_processes(config)
    display = TerminalProgress(config.train.steps, enabled=progress and state.is_main_process)
    with display:
        check_model_memory(config)
        with state.main_process_first():
            session = open_session(config, display.preparing)
        run = _shared_run(state, lambda: RunDirectory.create(config, command=_command(config)))
        _fit(run, session, state, display, resume_from=None)
    return run


def resume(
    run: RunDirectory | str | Path, overrides: Sequence[str] = (), *, runs_dir: str = "runs", progress: bool = True
) -> RunDirectory:
    """Go on with a run from its last complete checkpoint.

    Args:
        run: the run, its folder or its id.
        overrides: `key=value` for settings that do not change what is trained, such as `train.steps=2000`.
        runs_dir: where ids are looked up.
        progress: draw a progress bar on standard error.

    Raises:
        RunError: no checkpoint, a run that is still going, or a checkpoint of another architecture.
        ConfigError: an override that would make it another training.
    """
    run = run if isinstance(run, RunDirectory) else RunDirectory.open(run, runs_dir=runs_dir)
    config = _resumed_config(run.read_config(), overrides)
    checkpoint = run.latest_checkpoint()
    if checkpoint is None:
        raise RunError(
            f"The run {run.id} has no checkpoint to go on from.",
            expected="at least one complete folder under checkpoints/",
            received="none",
            cause="the run ended before its first checkpoint (checkpoint.every)",
            fix=f"start it again: {' '.join(command_line(config))}",
        )
    if not (checkpoint.path / OPTIMIZER_NAME).is_file():
        raise RunError(
            f"The run {run.id} has a model and no optimizer state, so its training cannot go on exactly.",
            expected=f"{OPTIMIZER_NAME} in {checkpoint.path.name}",
            received="a checkpoint without it",
            cause="it was imported, and pickled training state is not taken from elsewhere",
            fix=f"train from its weights: darkit-nb train model.path={checkpoint.path}",
        )
    if checkpoint.step >= config.train.steps:
        raise RunError(
            f"The run {run.id} has done all its {config.train.steps} steps.",
            expected=f"train.steps above {checkpoint.step}",
            received=f"train.steps={config.train.steps}",
            fix=f"darkit-nb resume {run.id} train.steps={2 * checkpoint.step}",
        )
    state = _start_processes(config)
    display = TerminalProgress(config.train.steps, enabled=progress and state.is_main_process, start=checkpoint.step)
    with display:
        check_model_memory(config)
        with state.main_process_first():
            session = open_session(config, display.preparing)
        check_same_architecture(session.model, checkpoint.path)
        _fit(run, session, state, display, resume_from=checkpoint)
    return run


def check_model_memory(config: RunConfig) -> None:
    """Refuse a preset that cannot fit before anything is built.

    Raises:
        ConfigError: with the estimate and what to lower.
    """
    if config.model.path is not None:
        return
    options = registry("model").get(config.model.preset).options
    shape = {"model_type": options["family"], **options["config"], **config.model.overrides}
    available = None
    if resolve_device(config.train) == "cuda":
        available = torch.cuda.mem_get_info()[0]
    check_memory(config, shape, available_bytes=available)


def _start_processes(config: RunConfig) -> PartialState:
    _quieten()
    torch.set_num_threads(config.train.num_threads or min(torch.get_num_threads(), available_cores()))
    state = PartialState(cpu=resolve_device(config.train) == "cpu")
    set_seed(config.seed)
    return state


def _quieten() -> None:
    """Keep libraries' progress bars and advice out of our own display; errors still come through."""
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    logging.getLogger("accelerate").setLevel(logging.ERROR)


def _shared_run(state: PartialState, create: Any) -> RunDirectory:
    """One process creates the run, all open it; an error there is raised everywhere, so that nobody waits for ever."""
    answer: list[Any] = [None, None]
    if state.is_main_process:
        try:
            answer[0] = str(create().root)
        except DarkitError as error:
            answer[1] = error
    if state.num_processes > 1:
        broadcast_object_list(answer)
    if answer[1] is not None:
        raise answer[1]
    return RunDirectory.open(answer[0])


def _command(config: RunConfig) -> list[str]:
    return command_line(config)


def _resumed_config(config: RunConfig, overrides: Sequence[str]) -> RunConfig:
    changes = parse_overrides(overrides)
    refused = [key for key in changes if not key.startswith(_CHANGEABLE_ON_RESUME)]
    if refused:
        raise ConfigError(
            f"{', '.join(refused)} cannot change when a run is resumed.",
            expected=f"only {', '.join(key.rstrip('.') for key in _CHANGEABLE_ON_RESUME)}",
            received=", ".join(f"{key}={changes[key]!r}" for key in refused),
            cause="it would be another training under the old run's name",
            fix="start a new run with these settings, from this one's checkpoint with model.path=…",
        )
    return config.replace(changes)


def _fit(
    run: RunDirectory, session: Session, state: PartialState, display: TerminalProgress, resume_from: Checkpoint | None
) -> None:
    config, data = session.config, session.data
    main = state.is_main_process
    recorder = RunRecorder(
        run,
        config,
        bytes_per_token=data.bytes_per_token,
        probe=spike_probe(data, config),
        report=display.report,
        active=main,
    )
    trainer = RunTrainer(
        run=run,
        config=config,
        model=session.model,
        tokenizer=data.load_tokenizer(),
        train_windows=data.train,
        eval_windows=_validation(session),
        on_log=recorder.on_values,
        callbacks=[recorder],
    )
    if not main:
        with stop_on_signals(recorder):
            trainer.train(resume_from_checkpoint=str(resume_from.path) if resume_from else None)
        return
    with run.lock():
        run.begin_attempt()
        run.write_status(state="running", step=resume_from.step if resume_from else 0, total_steps=config.train.steps)
        if config.spike is not None:
            backend = resolve_backend(config.spike.backend, trainer.args.device)
            run.append_event("backend", name=backend.name, reason=backend.reason)
            display.note(f"spikes: {backend}")
        try:
            with heartbeat(run, recorder), stop_on_signals(recorder):
                trainer.train(resume_from_checkpoint=str(resume_from.path) if resume_from else None)
        except BaseException as error:
            how = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
            _write_end(run, how, trainer, f"{type(error).__name__}: {error}")
            raise
        _write_end(run, "stopped" if recorder.stop_requested else "finished", trainer, recorder.stop_requested)


def _write_end(run: RunDirectory, how: str, trainer: RunTrainer, message: str | None) -> None:
    try:
        run.write_status(state=how, step=trainer.state.global_step, total_steps=trainer.args.max_steps, message=message)
        run.append_event(how, step=trainer.state.global_step, message=message)
    except DarkitError as second:
        # The first error is the one that explains; a full disk must not hide it behind its own echo.
        print(f"The end of the run could not be recorded: {second.message}", file=sys.stderr)


def _validation(session: Session) -> Any:
    windows = session.data.validation
    return torch.utils.data.Subset(windows, windows.spread(session.config.evaluation.windows))  # pyright: ignore[reportArgumentType]
