"""Answer what is asked of a model, probes, generations and traces, and leave it as it was."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from darkit_nb.errors import ConfigError, DarkitError, RunError
from darkit_nb.evaluate.snapshot import capture, token_ids
from darkit_nb.runs import RunDirectory
from darkit_nb.runs.control import Cancellation, Command, acknowledge
from darkit_nb.runs.files import append_line, write_atomic, writing
from darkit_nb.runs.removal import prune_answers
from darkit_nb.trace import trace_model
from darkit_nb.trace.subject import SAMPLE
from darkit_nb.train.generate import Sampling, stream_tokens

MAX_NEW_TOKENS = 4096
_ALONE = (DistributedType.NO, DistributedType.MULTI_GPU, DistributedType.MULTI_CPU)


@dataclass(frozen=True)
class _Asked:
    """One request, and the model that answers it."""

    run: RunDirectory
    command: Command
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    step: int | None
    give_up: Callable[[], str | None]


def answer(
    run: RunDirectory,
    command: Command,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    step: int | None,
    give_up: Callable[[], str | None] = lambda: None,
) -> None:
    """Carry out one request and acknowledge it; whatever goes wrong is in the acknowledgement, and nowhere else.

    Args:
        run: where the answer is written.
        command: a probe, a generation or a trace.
        model: put back as it was.
        tokenizer: its tokenizer.
        step: training step of its weights; None of a converted model.
        give_up: asked between tokens; a reason ends the generation.
    """
    error: Exception | None = None
    details: dict[str, Any] = {}
    # A full disk is met, and explained, by the training itself.
    with suppress(DarkitError):
        run.append_event("request", command_id=command.id, command=command.command, state="running", step=step)
    try:
        _refuse_shared_weights()
        with writing(run.spikes_path):
            run.spikes_path.mkdir(exist_ok=True)
        with torch.random.fork_rng(_devices(model)):
            details = _WORK[command.command](_Asked(run, command, model, tokenizer, step, give_up))
    except Exception as caught:  # noqa: BLE001 - a request must never end a training
        error = caught
        if isinstance(caught, torch.OutOfMemoryError):
            torch.cuda.empty_cache()
    with suppress(DarkitError):
        acknowledge(run, command, step=step, error=error, **details)
    prune_answers(run.spikes_path)


def refuse_again(run: RunDirectory, command: Command, *, step: int | None) -> None:
    """Acknowledge a request whose first answerer died over it; a second try might end this process too."""
    error = RunError(
        "The process that was answering this ended before it was done.",
        expected="an answer",
        received="none",
        cause="it was killed, or memory ran out over this request",
        fix="ask again, with a shorter text",
    )
    with suppress(DarkitError):
        acknowledge(run, command, step=step, error=error)


def _refuse_shared_weights() -> None:
    if PartialState._shared_state and PartialState().distributed_type not in _ALONE:
        raise RunError(
            "A model whose weights are spread over several processes cannot answer while it trains.",
            expected="one process, or DDP",
            received=str(PartialState().distributed_type),
            fix="ask again when the run has ended",
        )


def _devices(model: PreTrainedModel) -> list[Any]:
    return [model.device] if model.device.type == "cuda" else []


def _probe(asked: _Asked) -> dict[str, Any]:
    run, command = asked.run, asked.command
    text, layers = _text(command, "text"), command.arguments.get("layers")
    if layers is not None and not (isinstance(layers, list) and all(isinstance(name, str) for name in layers)):
        raise ConfigError("layers must be names.", expected="a list of text, or null", received=repr(layers))
    snapshot = capture(asked.model, asked.tokenizer, text, layers, step=asked.step)
    path = run.spikes_path / f"{command.id}.safetensors"
    draft = path.with_name(f".{path.name}")
    with writing(path):
        snapshot.save(draft)
        draft.replace(path)
    return {"file": path.name, "tokens": len(snapshot.tokens)}


def _generate(asked: _Asked) -> dict[str, Any]:
    run, command = asked.run, asked.command
    prompt, sampling = _text(command, "prompt"), _sampling(command)
    path, count = run.spikes_path / f"{command.id}.jsonl", 0
    cancellation = Cancellation(run, command.id)
    for token in () if cancellation.asked() else stream_tokens(asked.model, asked.tokenizer, prompt, sampling):
        append_line(path, {"schema": 1, **token})
        count += 1
        if cancellation.asked():
            break
        reason = asked.give_up()
        if reason:
            raise RunError(
                f"The generation ended after {count} tokens: {reason}.",
                expected=f"{sampling.max_new_tokens} tokens",
                received=f"{count} tokens",
                fix="ask again; the last checkpoint answers",
            )
    return {"file": path.name, "tokens": count, "cancelled": cancellation.asked()}


def _trace(asked: _Asked) -> dict[str, Any]:
    command, given = asked.command, asked.command.arguments
    text = SAMPLE if given.get("text") is None else _text(command, "text")
    ids = token_ids(asked.model, asked.tokenizer, text, cut=given.get("text") is None)
    measured = {name: given.get(name) is True for name in ("timing", "memory")}
    trace = trace_model(asked.model, {"input_ids": torch.tensor([ids])}, **measured)
    path = asked.run.spikes_path / f"{command.id}.trace.json"
    write_atomic(path, trace.to_json() + "\n")
    return {"file": path.name, "tokens": len(ids)}


_WORK: dict[str, Callable[[_Asked], dict[str, Any]]] = {"probe": _probe, "generate": _generate, "trace": _trace}


def _text(command: Command, name: str) -> str:
    text = command.arguments.get(name, "")
    if not isinstance(text, str):
        raise ConfigError(f"{name} must be text.", expected="text", received=type(text).__name__)
    return text


def _sampling(command: Command) -> Sampling:
    kinds = {"max_new_tokens": int, "temperature": (int, float), "top_k": int, "top_p": (int, float), "seed": int}
    given = {name: command.arguments[name] for name in kinds if command.arguments.get(name) is not None}
    for name, value in given.items():
        if not isinstance(value, kinds[name]) or isinstance(value, bool):
            raise ConfigError(f"{name} must be a number.", expected="a number", received=repr(value))
    if given.get("max_new_tokens", 0) > MAX_NEW_TOKENS:
        raise ConfigError(
            "That is too much text at once.",
            expected=f"max_new_tokens up to {MAX_NEW_TOKENS}",
            received=str(given["max_new_tokens"]),
            fix="generate from a terminal: darkit-nb generate RUN --max-new-tokens …",
        )
    return Sampling(**given)
