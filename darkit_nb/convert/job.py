"""A whole conversion, from its request to the scores of both models, told to a listener as it goes."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel

from darkit_nb.config import DataConfig
from darkit_nb.convert.driver import conversion_plan, convert_model
from darkit_nb.convert.model_source import ModelSource
from darkit_nb.convert.source import open_source
from darkit_nb.data import prepare
from darkit_nb.data.calibration import calibration_segments
from darkit_nb.data.tokenizer_files import is_tokenizer_folder
from darkit_nb.data.windows import TokenWindows
from darkit_nb.errors import DataError, RunError
from darkit_nb.evaluate.conversion_cost import SPIKE_TOKENS, conversion_cost
from darkit_nb.evaluate.held_out import HeldOutText, held_out_text, usual_window
from darkit_nb.evaluate.paired import paired_difference
from darkit_nb.evaluate.scoring import check_tokens, window_losses
from darkit_nb.records.bundled import located
from darkit_nb.records.conversion import BlockReport, ConversionPlan, ConversionReport
from darkit_nb.records.conversion_request import ConversionRequest
from darkit_nb.records.conversion_result import ConversionRow
from darkit_nb.records.conversion_spec import ConversionSpec
from darkit_nb.records.paired import WindowLosses
from darkit_nb.runs import RunDirectory
from darkit_nb.runs.conversion_files import scored_float
from darkit_nb.spikify import load_model

DEFAULT_DATASET = "stdlib"
BATCH_TOKENS = 2048
_MOST_TOKENS = 1 << 22
"""Training tokens read for calibration, unless the samples need more: segments are drawn from all of them."""


class Listener(Protocol):
    """Who is told how a conversion goes."""

    def stage(self, text: str) -> None:
        """What is being done now."""

    def plan(self, plan: ConversionPlan) -> None:
        """What it will take, before any work."""

    def block(self, report: BlockReport) -> None:
        """A block is done, or taken over."""

    def scoring(self, done: int, windows: int) -> None:
        """Windows of the held-out text that are scored."""

    def row(self, row: ConversionRow) -> None:
        """A model is scored."""


@dataclass(frozen=True)
class Located:
    """The float model and where its text comes from.

    Attributes:
        model: folder or hub id.
        data: settings of the text; those of its run where it is one of a run.
    """

    model: str | Path
    data: DataConfig


def locate(request: ConversionRequest) -> Located:
    """The model that a request names: a bundled one, a folder, the newest checkpoint of a run, else a hub id.

    Raises:
        RunError: a run that has no checkpoint yet, or a name that fits several runs.
    """
    found = located(request.source)
    data = DataConfig(dataset=request.dataset or DEFAULT_DATASET)
    if (Path(found) / "config.json").is_file():
        return Located(Path(found), data)
    try:
        run = RunDirectory.open(request.source, request.runs_dir)
    except RunError as error:
        if "may mean" in error.message:
            raise
        return Located(found, data)  # a folder that is no run is no model either, and what reads it says why
    own = run.read_config().data
    return Located(run.require_checkpoint().path, own.model_copy(update={"dataset": request.dataset or own.dataset}))


def plan_of(request: ConversionRequest) -> ConversionPlan:
    """What the conversion will take; nothing is written.

    Raises:
        DarkitError: nothing to convert there.
    """
    model, revision = locate(request).model, request.revision
    return conversion_plan(model, _fitted(request.spec, open_source(model, revision=revision)), revision=revision)


def _fitted(spec: ConversionSpec, model: ModelSource) -> ConversionSpec:
    """Calibration sequences no longer than the model's context."""
    context = getattr(model.config, "max_position_embeddings", None) or spec.sample_length
    return spec.replace(sample_length=min(spec.sample_length, context))


def run_job(request: ConversionRequest, out: Path, listener: Listener, known: tuple[ConversionRow, ...] = ()) -> None:
    """Convert, then score the float and the converted model on held-out text.

    Blocks that an earlier start finished are taken over, and so are scores.

    Args:
        request: what to do.
        out: folder of the converted model.
        listener: told on the way.
        known: scores of an earlier start.

    Raises:
        DarkitError: whatever is wrong; finished blocks stay.
    """
    started = time.monotonic()
    subject = locate(request)
    opened = open_source(subject.model, revision=request.revision)
    folder = _folder_with_tokenizer(opened)
    spec = _fitted(request.spec, opened)
    listener.plan(conversion_plan(subject.model, spec, revision=request.revision))
    listener.stage("reading the calibration text")
    calibration = _calibration(spec, subject.data, folder)
    text, window = None, request.window or usual_window(opened.config)
    if request.windows:  # read now: what is wrong with it would else be said when all is done
        listener.stage("reading the held-out text")
        text = held_out_text(folder, subject.data, request.text)
        check_tokens(opened, text.ids, window)
    listener.stage("statistics")
    report = convert_model(
        subject.model,
        spec,
        calibration=calibration,
        out=out,
        on_event=_events(listener),
        device=_device(request.device),
        revision=request.revision,
    )
    if text is None:
        return
    score = _Scoring(request, text, listener, {row.name: row for row in known}, usual_window(opened.config))
    base = score.float_model(opened, str(subject.model), folder, beside=out.parent)
    score.converted(out, report, base, seconds=max(report.seconds, time.monotonic() - started))


def _folder_with_tokenizer(opened: ModelSource) -> Path:
    """Where the model lies. Asked before any work: texts are read first and scored last, and both need a tokenizer."""
    folder = opened.folder
    if folder is not None and is_tokenizer_folder(folder):
        return folder
    older = folder is not None and (folder / "tokenizer.model").is_file()
    code = f"from transformers import AutoTokenizer as A; F = {str(folder)!r}; A.from_pretrained(F).save_pretrained(F)"
    raise DataError(
        "There is no tokenizer beside the model" + (" that can be read." if older else "."),
        expected="tokenizer.json, or vocab.json with merges.txt, or vocab.txt, in the folder of the model",
        received=f"{'only tokenizer.model' if older else 'none of them'} in {opened.name}",
        fix=f"python -c {shlex.quote(code)} writes tokenizer.json"
        if older
        else "copy the tokenizer's files into its folder from where the model came from",
    )


def _calibration(spec: ConversionSpec, data: DataConfig, tokenizer: Path) -> torch.Tensor:
    """Segments `[samples, sample_length]` of the training documents, in the model's own tokens."""
    most = max(_MOST_TOKENS, 16 * spec.samples * spec.sample_length)
    settings = data.model_copy(
        update={"tokenizer": str(tokenizer), "seq_len": 2, "streaming": False, "max_train_tokens": most}
    )
    train = prepare(settings, seed=settings.split_seed).train
    if not isinstance(train, TokenWindows):
        raise DataError(
            "Calibration needs a corpus that is read first.", expected="streaming=False", received="a stream"
        )
    found = calibration_segments(train.tokens, samples=spec.samples, length=spec.sample_length, seed=spec.seed)
    return torch.from_numpy(found)


def _events(listener: Listener) -> Callable[[dict[str, Any]], None]:
    def tell(event: dict[str, Any]) -> None:
        kind = event.get("kind")
        if kind == "block":
            listener.block(BlockReport.from_dict(event["report"]))
        elif kind in ("statistics", "saved", "stage"):
            listener.stage(str(event.get("text") or kind))

    return tell


@dataclass(frozen=True)
class _Scoring:
    """Both models on the same windows of the same text."""

    request: ConversionRequest
    text: HeldOutText
    listener: Listener
    known: dict[str, ConversionRow]
    usual_window: int

    def float_model(self, model: ModelSource, path: str, files: Path, *, beside: Path) -> ConversionRow:
        """Score the model that was converted; or take its score from an earlier start, or from another conversion.

        Args:
            model: what was converted.
            path: folder or hub id, for the row.
            files: folder of its weights and tokenizer.
            beside: folder of converted models: those of one comparison lie there, and score the float model once.
        """
        if "float" in self.known:
            return self.known["float"]
        key = self._key(model)
        row = scored_float(beside, key)
        if row is None:
            self.listener.stage("scoring the float model")
            loaded = load_model(files, device=_device(self.request.device))
            row = ConversionRow(name="float", source="", path=path, losses=self._losses(loaded), key=key)
        row = replace(row, source=self.request.source, path=path)
        self.listener.row(row)
        return row

    def _key(self, model: ModelSource) -> str:
        """Digest of everything the losses of the float model follow from."""
        digest = sha256(model.fingerprint().encode())
        digest.update(self._ids.numpy().tobytes())
        digest.update(repr((self.text.name, self.text.bytes_per_token, self._window, self._batch)).encode())
        digest.update(f"{torch.device(_device(self.request.device)).type} {torch.__version__}".encode())
        return digest.hexdigest()

    @property
    def _window(self) -> int:
        """Tokens of a scored window."""
        return self.request.window or self.usual_window

    @property
    def _ids(self) -> torch.Tensor:
        """`[N]` tokens that are scored."""
        return self.text.ids[: self.request.windows * self._window]

    @property
    def _batch(self) -> int:
        """Windows scored at a time."""
        return max(1, BATCH_TOKENS // self._window)

    def converted(self, out: Path, report: ConversionReport, base: ConversionRow, *, seconds: float) -> None:
        """Score the converted model, count its spikes, and put it beside the float one."""
        if self.request.name in self.known:
            return
        self.listener.stage("scoring the converted model")
        loaded = load_model(out, device=_device(self.request.device))
        losses = self._losses(loaded)
        self.listener.stage("counting spikes")
        window = losses.window
        counted = min(len(losses.nats), max(1, SPIKE_TOKENS // window))
        batches = list(self.text.ids[: counted * window].view(-1, window).split(1))
        row = ConversionRow(
            name=self.request.name,
            source=self.request.source,
            path=str(out),
            losses=losses,
            delta=paired_difference(losses, base.losses),
            cost=conversion_cost(loaded, report, batches),
            seconds=seconds,
            peak_bytes=report.peak_bytes,
        )
        self.listener.row(row)

    def _losses(self, model: PreTrainedModel) -> WindowLosses:
        self.listener.scoring(0, len(self._ids) // self._window)  # the pace is measured from here
        found = window_losses(
            model,
            self._ids,
            window=self._window,
            text=self.text.name,
            bytes_per_token=self.text.bytes_per_token,
            batch_size=self._batch,
            on_window=self.listener.scoring,
        )
        return replace(found, nats=tuple(round(each, 7) for each in found.nats))


def _device(device: str) -> str:
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
