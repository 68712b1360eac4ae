"""Score a checkpoint on a text: `darkit-nb evaluate`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

import torch

from darkit_nb.config import DataConfig
from darkit_nb.config.bundled import located
from darkit_nb.data.corpus import Corpus, Document, open_corpus
from darkit_nb.data.split import split_corpus
from darkit_nb.data.tokenizer_files import load_folder
from darkit_nb.errors import ConfigError, DataError
from darkit_nb.evaluate.scoring import perplexity
from darkit_nb.plugins import import_modules
from darkit_nb.records.evaluation import EvaluationResult
from darkit_nb.runs import RunDirectory
from darkit_nb.spikify import load_model

PROTOCOL_WINDOW = 2048
"""Tokens per window in the published tables; a model with a shorter context is scored at its context."""

BATCH_TOKENS = 2048


def evaluate_run(
    run_or_path: RunDirectory | str | Path,
    *,
    text: str | Path | None = None,
    dataset: str | None = None,
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
        window: tokens per window; the smaller of 2048 and the model's context by default.
        max_windows: stop after so many windows; all of them by default.
        device: auto takes a GPU where there is one.
        runs_dir: where run ids are looked up.

    Raises:
        ConfigError: both a text and a dataset, or neither with a model folder.
        RunError: no such run, or it has no checkpoint yet.
        DataError: the text cannot be read, or is shorter than one window.
        ModelError: the model cannot be loaded, or does not fit the tokens or the window.
    """
    subject = _open(run_or_path, runs_dir)
    name, content = _text_of(subject, text, dataset)
    tokenizer = load_folder(subject.folder.name, subject.folder)
    model = load_model(subject.folder, device=_device(device))
    ids = torch.from_numpy(tokenizer.encode([content])[0].astype("int64"))
    size: int = window or min(PROTOCOL_WINDOW, getattr(model.config, "max_position_embeddings", PROTOCOL_WINDOW))
    num_bytes = len(content.encode())
    start = time.perf_counter()
    scores = perplexity(
        model,
        ids if max_windows is None else ids[: max_windows * size],
        window=size,
        bytes_per_token=num_bytes / max(1, len(ids)),
        batch_size=max(1, BATCH_TOKENS // size),
    )
    return EvaluationResult(
        model=str(subject.folder),
        text=name,
        text_sha256=sha256(content.encode()).hexdigest(),
        text_bytes=num_bytes,
        vocab_size=tokenizer.vocab_size,
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


def _text_of(subject: _Subject, text: str | Path | None, dataset: str | None) -> tuple[str, str]:
    if (text is not None and dataset is not None) or (text is None and dataset is None and subject.data is None):
        raise ConfigError(
            "It is not clear which text to score.",
            expected="one of text and dataset; a run may do without both",
            received="both" if text is not None else "neither, and a model folder that knows no dataset",
            fix="give text=<file>, or dataset=<id>",
        )
    settings = subject.data or DataConfig()
    if text is not None:
        corpus = open_corpus(settings.model_copy(update={"dataset": f"text:{text}", "streaming": False}))
        return Path(text).name, _joined(corpus, list(corpus.train()))
    settings = settings.model_copy(update={"dataset": dataset or settings.dataset, "streaming": False})
    corpus = open_corpus(settings)
    split = split_corpus(corpus, settings.validation_fraction, settings.split_seed)
    return f"{settings.dataset}, validation", _joined(corpus, list(split.validation()))


def _joined(corpus: Corpus, documents: list[Document]) -> str:
    if any(document.messages for document in documents):
        raise DataError(
            f"{corpus.name!r} holds conversations, which this protocol does not score.",
            expected="plain text",
            received="documents with turns",
            fix="score a text dataset, such as wikitext-2",
        )
    content = "\n\n".join(document.text for document in documents)
    if not content:
        raise DataError(f"{corpus.name!r} holds no text to score.", expected="text", received="nothing")
    return content


def _device(device: str) -> str:
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
