"""Generate text with a trained run or a saved model, token by token."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers import (
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
    TextIteratorStreamer,
)

from darkit_nb.errors import ConfigError, RunError
from darkit_nb.runs import RunDirectory
from darkit_nb.spikify import load_model


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        max_new_tokens: how many tokens at most.
        temperature: 0 takes the most likely token; 1 samples from the model's own distribution.
        top_k: only the k most likely tokens; 0 takes all.
        top_p: only the smallest set of tokens with this probability together.
        seed: of the sampling; None draws differently every time.
    """

    max_new_tokens: int = 200
    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 0.95
    seed: int | None = None

    def __post_init__(self) -> None:
        limits = (
            ("max_new_tokens", self.max_new_tokens, self.max_new_tokens >= 1, "1 or more"),
            ("temperature", self.temperature, self.temperature >= 0, "0 or more"),
            ("top_k", self.top_k, self.top_k >= 0, "0 (all) or more"),
            ("top_p", self.top_p, 0 < self.top_p <= 1, "above 0, up to 1"),
        )
        for name, value, fits, expected in limits:
            if not fits:
                raise ConfigError(f"{name} is out of range.", expected=expected, received=repr(value))


def model_folder(run_or_path: RunDirectory | str | Path, runs_dir: str = "runs") -> Path | str:
    """The newest checkpoint of a run, a model folder as it is, or a hub id.

    Raises:
        RunError: a run without a complete checkpoint, or neither a run nor a model.
    """
    if not isinstance(run_or_path, RunDirectory):
        if (Path(run_or_path) / "config.json").is_file():
            return Path(run_or_path)
        if "/" in str(run_or_path) and not Path(run_or_path).exists():
            return str(run_or_path)
        run_or_path = RunDirectory.open(run_or_path, runs_dir=runs_dir)
    checkpoint = run_or_path.latest_checkpoint()
    if checkpoint is None:
        raise RunError(
            f"The run {run_or_path.id} has no checkpoint yet.",
            expected="at least one complete folder under checkpoints/",
            received="none",
            fix="wait for its first checkpoint, or resume it",
        )
    return checkpoint.path


def generate(
    run_or_path: RunDirectory | str | Path,
    prompt: str,
    sampling: Sampling | None = None,
    *,
    runs_dir: str = "runs",
    device: str = "cpu",
) -> Iterator[str]:
    """Yield the text that follows `prompt`, piece by piece as it is generated.

    Args:
        run_or_path: run, its folder or id, a model folder, or a hub id.
        prompt: text to continue; empty starts from the end-of-text token.
        sampling: how tokens are chosen.
        runs_dir: where run ids are looked up.
        device: cpu or cuda.

    Raises:
        RunError: no such run, or one without a checkpoint.
        ModelError: the model cannot be loaded.
    """
    folder = model_folder(run_or_path, runs_dir)
    model = load_model(folder, device=device)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    yield from stream_text(model, tokenizer, prompt, sampling or Sampling())


def stream_text(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str, sampling: Sampling
) -> Iterator[str]:
    """As `generate`, with a model and tokenizer at hand: transformers' `generate()` with the KV cache, in a thread.

    A prompt longer than the context keeps its end; generation stops at the end-of-text token or a full context.
    Closing the iterator stops the thread at its next token.
    """
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"] or [tokenizer.eos_token_id]
    context = getattr(model.config, "max_position_embeddings", None) or len(ids) + sampling.max_new_tokens
    ids = ids[-(context - 1) :]
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    closed, failure = threading.Event(), list[BaseException]()

    def work() -> None:
        try:
            with torch.random.fork_rng():
                if sampling.seed is not None:
                    torch.manual_seed(sampling.seed)
                else:
                    torch.seed()
                cast(Any, model).generate(  # every causal model has it, by a mixin that types cannot see
                    torch.tensor([ids], device=model.device),
                    max_new_tokens=min(sampling.max_new_tokens, context - len(ids)),
                    streamer=streamer,
                    stopping_criteria=StoppingCriteriaList([_Closed(closed)]),
                    pad_token_id=tokenizer.pad_token_id,
                    eos_token_id=tokenizer.eos_token_id,
                    **_strategy(sampling),
                )
        except BaseException as error:  # noqa: BLE001 - carried over to the reading thread and raised there
            failure.append(error)
        finally:
            streamer.end()

    thread = threading.Thread(target=work, name="darkit-generate", daemon=True)
    thread.start()
    try:
        yield from (piece for piece in streamer if piece)
    finally:
        closed.set()
        thread.join()
    if failure:
        raise failure[0]


def _strategy(sampling: Sampling) -> dict[str, Any]:
    if sampling.temperature == 0:
        return {"do_sample": False}
    return {
        "do_sample": True,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
    }


class _Closed(StoppingCriteria):
    """Ends generation when nobody reads any more."""

    def __init__(self, closed: threading.Event) -> None:
        self._closed = closed

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Any:
        return torch.full((input_ids.shape[0],), self._closed.is_set(), dtype=torch.bool, device=input_ids.device)
