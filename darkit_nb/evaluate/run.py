"""Score a checkpoint on a text: `darkit-nb evaluate`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from darkit_nb.config import DataConfig
from darkit_nb.data.protocols import Protocol
from darkit_nb.errors import ConfigError
from darkit_nb.evaluate.held_out import held_out_text, published_text, usual_window
from darkit_nb.evaluate.scoring import perplexity
from darkit_nb.plugins import import_modules
from darkit_nb.records.bundled import located
from darkit_nb.records.evaluation import EvaluationResult
from darkit_nb.runs import RunDirectory
from darkit_nb.spikify import load_model

BATCH_TOKENS = 2048


def evaluate_run(
    run_or_path: RunDirectory | str | Path,
    *,
    text: str | Path | None = None,
    dataset: str | None = None,
    protocol: Protocol | None = None,
    window: int | None = None,
    max_windows: int | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    runs_dir: str | Path = "runs",
) -> EvaluationResult:
    """Perplexity and bits per byte of a run's newest checkpoint, or of a model folder.

    The whole text is tokenised at once with the tokenizer saved beside the model; documents of a dataset are joined by
    empty lines.

    Args:
        run_or_path: run, run id, run folder, a folder with model and tokenizer, or the name of a bundled model.
        text: a UTF-8 text file, or a folder of them; may be compressed with xz or gzip.
        dataset: a dataset id; its validation documents are scored. Without `text` and `dataset` it is the one the run
            was trained on, whose validation documents the run has never learnt from.
        protocol: `wikitext-2`, `c4` or `c4-new` as in the published tables (`darkit_nb.data.protocols`), in place of
            both.
        window: tokens per window; the smaller of 2048 and the model's context by default.
        max_windows: stop after so many windows; all of them by default.
        device: auto takes a GPU where there is one.
        runs_dir: where run ids are looked up.

    Raises:
        ConfigError: more than one of text, dataset and protocol, or none of them with a model folder.
        RunError: no such run, or it has no checkpoint yet.
        DataError: the text cannot be read, or is shorter than one window.
        ModelError: the model cannot be loaded, or does not fit the tokens or the window.
    """
    subject = _open(run_or_path, runs_dir)
    asked = [
        name for name, value in (("text", text), ("dataset", dataset), ("protocol", protocol)) if value is not None
    ]
    if len(asked) > 1 or not (asked or subject.data):
        raise ConfigError(
            "It is not clear which text to score.",
            expected="one of text, dataset and protocol; a run may do without",
            received=" and ".join(asked) if asked else "neither, and a model folder that knows no dataset",
            fix="give text=<file>, or dataset=<id>",
        )
    model = load_model(subject.folder, device=_device(device))
    size: int = window or usual_window(model.config)
    if protocol is not None:
        held_out = published_text(subject.folder, protocol, size)
    else:
        settings = subject.data or DataConfig()
        settings = settings.model_copy(update={"dataset": dataset or settings.dataset})
        held_out = held_out_text(subject.folder, settings, text)
    start = time.perf_counter()
    scores = perplexity(
        model,
        held_out.ids if max_windows is None else held_out.ids[: max_windows * size],
        window=size,
        bytes_per_token=held_out.bytes_per_token,
        batch_size=max(1, BATCH_TOKENS // size),
    )
    return EvaluationResult(
        model=str(subject.folder),
        text=held_out.name,
        text_sha256=held_out.sha256,
        text_bytes=held_out.num_bytes,
        vocab_size=held_out.vocab_size,
        perplexity=scores,
        seconds=time.perf_counter() - start,
    )


@dataclass(frozen=True)
class _Subject:
    """What is evaluated: a model folder, and the run it belongs to with its data settings, if it does."""

    folder: Path
    data: DataConfig | None


def _open(run_or_path: RunDirectory | str | Path, runs_dir: str | Path) -> _Subject:
    if not isinstance(run_or_path, RunDirectory):
        run_or_path = located(run_or_path)
        if (Path(run_or_path) / "config.json").is_file():
            return _Subject(Path(run_or_path), None)
        run_or_path = RunDirectory.open(run_or_path, runs_dir=runs_dir)
    config = run_or_path.read_config()
    import_modules(config.plugins, Path.cwd())
    return _Subject(run_or_path.require_checkpoint().path, config.data)


def _device(device: str) -> str:
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
