"""The training itself: everything is built, the run is taken on."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from accelerate import PartialState

from darkit_nb.ops.backend import resolve_backend
from darkit_nb.runs import Checkpoint
from darkit_nb.train.attempt import Attempt
from darkit_nb.train.control import stop_on_signals
from darkit_nb.train.patching import Patching
from darkit_nb.train.progress import TerminalProgress
from darkit_nb.train.recorder import RunRecorder
from darkit_nb.train.session import Session, spike_probe
from darkit_nb.train.trainer import RunTrainer


def fit(
    attempt: Attempt,
    session: Session,
    state: PartialState,
    display: TerminalProgress,
    resume_from: Checkpoint | None,
) -> None:
    """Train to the last step, a time limit or a stop.

    Args:
        attempt: the start of the run this is.
        session: data and model.
        state: the processes.
        display: progress for a terminal or a log.
        resume_from: checkpoint to go on from.
    """
    config, data, run = session.config, session.data, attempt.run
    with attempt.control.preparing() if attempt.active else nullcontext():
        recorder = RunRecorder(
            attempt,
            config,
            bytes_per_token=data.bytes_per_token,
            probe=spike_probe(data, config),
            report=display.report,
        )
        patching = Patching(attempt, session.edits, changed=recorder.forget_facts)
        trainer = RunTrainer(
            run=run,
            config=config,
            model=session.model,
            tokenizer=data.load_tokenizer(),
            train_windows=data.train,
            eval_windows=_validation(session),
            on_log=recorder.on_values,
            callbacks=[recorder],
            patching=patching,
            layout=session.edits.layout,
        )
        recorder.guard = partial(patching.guarded, trainer)
    begun = resume_from.step if resume_from else 0
    attempt.running(begun, config.train.steps)
    patching.begin(begun, trainer.args.world_size)
    if config.spike is not None and attempt.active:
        backend = resolve_backend(config.spike.backend, trainer.args.device)
        run.append_event("backend", name=backend.name, reason=backend.reason)
        display.note(f"spikes: {backend}")
    with stop_on_signals(attempt.control):
        trainer.train(resume_from_checkpoint=str(resume_from.path) if resume_from else None)
    attempt.step = trainer.state.global_step


def _validation(session: Session) -> Any:
    windows = session.data.validation
    return torch.utils.data.Subset(windows, windows.spread(session.config.evaluation.windows))  # pyright: ignore[reportArgumentType]
