"""A whole conversion, from its request to the scores of both models, told to a listener as it goes."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from darkit_nb.config import DataConfig
from darkit_nb.config.launched import launched_processes
from darkit_nb.convert.driver import convert_model
from darkit_nb.convert.listener import Listener, events_to
from darkit_nb.convert.model_source import ModelSource
from darkit_nb.convert.plan import plan_for, with_scoring
from darkit_nb.convert.scores import Scoring, device_of
from darkit_nb.convert.source import open_source
from darkit_nb.data import prepare
from darkit_nb.data.calibration import calibration_segments
from darkit_nb.data.tokenizer_files import is_tokenizer_folder
from darkit_nb.data.windows import TokenWindows
from darkit_nb.errors import DataError, RunError
from darkit_nb.evaluate.held_out import HeldOutText, held_out_text, usual_window
from darkit_nb.evaluate.scoring import check_tokens
from darkit_nb.records.bundled import located
from darkit_nb.records.conversion import ConversionPlan, ConversionReport
from darkit_nb.records.conversion_request import ConversionRequest
from darkit_nb.records.conversion_result import ConversionRow
from darkit_nb.records.conversion_spec import ConversionSpec
from darkit_nb.runs import RunDirectory
from darkit_nb.train.group import is_main, own_device, world
from darkit_nb.train.processes import from_first, leave

DEFAULT_DATASET = "stdlib"
_MOST_TOKENS = 1 << 22
"""Training tokens read for calibration, unless the samples need more: segments are drawn from all of them."""


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
        RunError: a run that has no checkpoint yet, a name that fits several runs, or `latest` where there is none.
    """
    found = located(request.source)
    data = DataConfig(dataset=request.dataset or DEFAULT_DATASET)
    if (Path(found) / "config.json").is_file():
        return Located(Path(found), data)
    try:
        run = RunDirectory.open(request.source, request.runs_dir)
    except RunError as error:
        if "may mean" in error.message or request.source == "latest":
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
    opened = open_source(model, revision=revision)
    return _plan(request, opened, _fitted(request.spec, opened), launched_processes())


def _plan(request: ConversionRequest, opened: ModelSource, spec: ConversionSpec, processes: int) -> ConversionPlan:
    plan = plan_for(opened, spec, processes=processes)
    return with_scoring(plan, opened, request.window or usual_window(opened.config)) if request.windows else plan


def _fitted(spec: ConversionSpec, model: ModelSource) -> ConversionSpec:
    """Calibration sequences no longer than the model's context."""
    context = getattr(model.config, "max_position_embeddings", None) or spec.sample_length
    return spec.replace(sample_length=min(spec.sample_length, context))


def run_job(request: ConversionRequest, out: Path, listener: Listener, known: tuple[ConversionRow, ...] = ()) -> None:
    """Convert, then score the float and the converted model on held-out text.

    Blocks that an earlier start finished are taken over, and so are scores. Of several processes all call this; the
    first reads the texts and, when all have converted and parted, scores alone.

    Args:
        request: what to do.
        out: folder of the converted model.
        listener: told on the way, of several processes that of the first.
        known: scores of an earlier start.

    Raises:
        DarkitError: whatever is wrong; finished blocks stay.
    """
    started = time.monotonic()
    job = _Job(request, listener)
    device = own_device(device_of(request.device))
    # Read by one process: texts and what is made of them are kept in files that only one may write.
    task = from_first(job.prepared)
    first = is_main()
    listener.stage("statistics")
    report = convert_model(
        task.model,
        task.spec,
        calibration=task.calibration,
        out=out,
        on_event=events_to(listener),
        device=device,
        revision=request.revision,
    )
    leave()
    if first and job.text is not None:
        job.score(job.text, out, report, {row.name: row for row in known}, started)


@dataclass(frozen=True)
class _Task:
    """What all processes of a conversion work on."""

    model: str | Path
    spec: ConversionSpec
    calibration: torch.Tensor


class _Job:
    """What the first process does before the conversion and after it.

    Attributes:
        text: to score, once it is read; None where nothing is scored.
    """

    text: HeldOutText | None = None

    def __init__(self, request: ConversionRequest, listener: Listener) -> None:
        self._request, self._listener = request, listener

    def prepared(self) -> _Task:
        """Find the model, tell the plan, read the texts."""
        request, listener = self._request, self._listener
        self._subject = subject = locate(request)
        self._opened = opened = open_source(subject.model, revision=request.revision)
        self._folder = folder = _folder_with_tokenizer(opened)
        spec = _fitted(request.spec, opened)
        listener.plan(_plan(request, opened, spec, world()))
        listener.stage("reading the calibration text")
        calibration = _calibration(spec, subject.data, folder)
        if request.windows:  # read now: what is wrong with it would else be said when all is done
            listener.stage("reading the held-out text")
            self.text = held_out_text(folder, subject.data, request.text)
            check_tokens(opened, self.text.ids, request.window or usual_window(opened.config))
        return _Task(subject.model, spec, calibration)

    def score(
        self, text: HeldOutText, out: Path, report: ConversionReport, known: dict[str, ConversionRow], started: float
    ) -> None:
        """Both models on the held-out text."""
        score = Scoring(self._request, text, self._listener, known, usual_window(self._opened.config))
        base = score.float_model(self._opened, str(self._subject.model), self._folder, beside=out.parent)
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
