"""Generate text with a trained run or a saved model, token by token."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, cast

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.generation.logits_process import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from darkit_nb.data.text_stream import TextStream
from darkit_nb.errors import ConfigError, ModelError, RunError
from darkit_nb.evaluate.token_meter import TokenMeter, TokenWork
from darkit_nb.records.bundled import located
from darkit_nb.runs import RunDirectory
from darkit_nb.spikify import load_model
from darkit_nb.trace.mode import evaluating


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
    """The newest checkpoint of a run, a model folder as it is, a bundled model, or a hub id.

    Raises:
        RunError: a run without a complete checkpoint, or neither a run nor a model.
    """
    if not isinstance(run_or_path, RunDirectory):
        run_or_path = located(run_or_path)
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


class GeneratedToken(TypedDict):
    """One token and what it took.

    Attributes:
        index: 0 for the first.
        id: its id.
        text: the text that it makes certain: "" while a character is incomplete, and for special tokens.
        firing_rate: share of slots that held a spike in the forward that chose it; None for a float model.
        energy_pj: of that forward, simulated, memory included and the weights fetched for it alone; None if unmeasured.
        unary_events: unit spikes of that forward.
        seconds: since the token before; of the first, reading the prompt included.
    """

    index: int
    id: int
    text: str
    firing_rate: float | None
    energy_pj: float | None
    unary_events: int | None
    seconds: float


def stream_text(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str, sampling: Sampling
) -> Iterator[str]:
    """As `generate`, with a model and tokenizer at hand."""
    tokens = stream_tokens(model, tokenizer, prompt, sampling, measure=False)
    yield from (token["text"] for token in tokens if token["text"])


def stream_tokens(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    sampling: Sampling,
    *,
    measure: bool = True,
) -> Iterator[GeneratedToken]:
    """Yield token after token, each with the spikes and the energy of the forward that chose it.

    Keys and values are kept, so every such forward reads one token: the last one of the prompt for the first token,
    the token before for the others. A prompt longer than the context keeps its end; generation stops behind the
    end-of-text token, which is yielded too, or at a full context. Random numbers come from a generator of its own, and
    between tokens the model is in its own mode: a training that pauses for this goes on as if nothing had been.

    Args:
        model: spiking or float.
        tokenizer: its tokenizer.
        prompt: text to continue; empty starts from the end-of-text token.
        sampling: how tokens are chosen.
        measure: whether spikes and energy are counted.

    Raises:
        ModelError: the model's output is not finite.
    """
    ids = _prompt_ids(tokenizer, prompt)
    context = getattr(model.config, "max_position_embeddings", None) or len(ids) + sampling.max_new_tokens
    ids = ids[-(context - 1) :]
    last_index = min(sampling.max_new_tokens, context - len(ids)) - 1
    choose, text = _Chooser(sampling, model.device), TextStream(lambda some: _decode(tokenizer, some))
    start = time.perf_counter()
    meter = TokenMeter(model) if measure else None
    cache = _forward(model, ids[:-1], None)[1] if len(ids) > 1 else None
    token = ids[-1]
    for index in range(last_index + 1):
        with meter.measuring(len(ids) + index) if meter else nullcontext(TokenWork()) as work:
            logits, cache = _forward(model, [token], cache)
        token = choose(logits)
        ends = token == tokenizer.eos_token_id or index == last_index
        piece = text.push(token) + (text.end() if ends else "")
        now = time.perf_counter()
        yield GeneratedToken(
            index=index,
            id=token,
            text=piece,
            firing_rate=work.firing_rate,
            energy_pj=work.energy_pj if measure else None,
            unary_events=work.unary_events,
            seconds=now - start,
        )
        if ends:
            return
        start = now


def _prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    ids = cast("list[int]", tokenizer(prompt, add_special_tokens=False)["input_ids"])
    return ids or [cast(int, tokenizer.eos_token_id)]


def _decode(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    return cast(str, tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


@torch.no_grad()
def _forward(model: PreTrainedModel, ids: list[int], cache: Any) -> tuple[Tensor, Any]:
    """Logits of the last token, float32 `[1, V]`, and keys and values of all so far."""
    with evaluating(model):
        out = model(input_ids=torch.tensor([ids], device=model.device), past_key_values=cache, use_cache=True)
    return out.logits[:, -1].float(), out.past_key_values


class _Chooser:
    """Picks a token by its probability, with random numbers of its own."""

    def __init__(self, sampling: Sampling, device: torch.device) -> None:
        self._greedy = sampling.temperature == 0
        self._random = torch.Generator(device=device)
        if sampling.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(sampling.seed)
        self._warp = LogitsProcessorList()
        if not self._greedy:
            self._warp.append(TemperatureLogitsWarper(float(sampling.temperature)))
        if sampling.top_k:
            self._warp.append(TopKLogitsWarper(sampling.top_k))
        if sampling.top_p < 1:
            self._warp.append(TopPLogitsWarper(sampling.top_p))

    def __call__(self, logits: Tensor) -> int:
        """A token id for logits `[1, V]`."""
        if not bool(logits.isfinite().all()):
            raise ModelError(
                "The model gives no probabilities: its output is not finite.",
                expected="finite logits",
                received="nan or inf",
                cause="its training diverged, or its weights overflow in float16",
                fix="take an earlier checkpoint, or load it with dtype=torch.float32",
            )
        if self._greedy:
            return int(logits.argmax())
        chances = self._warp(cast(Any, None), cast(Any, logits)).softmax(-1)
        return int(torch.multinomial(chances, 1, generator=self._random))
