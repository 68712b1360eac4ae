"""The float model and the converted one on the same windows of the same held-out text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import torch
from transformers import PreTrainedModel

from darkit_nb.convert.listener import Listener
from darkit_nb.convert.model_source import ModelSource
from darkit_nb.convert.plan import BATCH_TOKENS
from darkit_nb.errors import BackendError
from darkit_nb.evaluate.conversion_cost import SPIKE_TOKENS, conversion_cost
from darkit_nb.evaluate.held_out import HeldOutText
from darkit_nb.evaluate.paired import paired_difference
from darkit_nb.evaluate.scoring import window_losses
from darkit_nb.records.conversion import ConversionReport
from darkit_nb.records.conversion_request import ConversionRequest
from darkit_nb.records.conversion_result import ConversionRow
from darkit_nb.records.paired import WindowLosses
from darkit_nb.runs.conversion_files import scored_float
from darkit_nb.spikify import load_model


@dataclass(frozen=True)
class Scoring:
    """Both models on the same windows of the same text.

    Attributes:
        request: which windows, and where.
        text: that is scored.
        listener: told on the way.
        known: rows of an earlier start, by name; what is among them is not scored again.
        usual_window: tokens of a window where the request names none.
    """

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
            loaded = load_model(files, device=device_of(self.request.device))
            row = ConversionRow(name="float", source="", path=path, losses=self._losses(loaded), key=key)
        row = replace(row, source=self.request.source, path=path)
        self.listener.row(row)
        return row

    def converted(self, out: Path, report: ConversionReport, base: ConversionRow, *, seconds: float) -> None:
        """Score the converted model, count its spikes, and put it beside the float one."""
        if self.request.name in self.known:
            return
        self.listener.stage("scoring the converted model")
        loaded = load_model(out, device=device_of(self.request.device))
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

    def _key(self, model: ModelSource) -> str:
        """Digest of everything the losses of the float model follow from."""
        digest = sha256(model.fingerprint().encode())
        digest.update(self._ids.numpy().tobytes())
        digest.update(repr((self.text.name, self.text.bytes_per_token, self._window, self._batch)).encode())
        digest.update(f"{torch.device(device_of(self.request.device)).type} {torch.__version__}".encode())
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


def device_of(device: str) -> str:
    """Where the work is done: `auto` takes a GPU where there is one."""
    if device == "cuda" and not torch.cuda.is_available():
        raise BackendError(
            "There is no GPU to convert on.",
            expected="a GPU that PyTorch can use, for device='cuda'",
            received=f"torch {torch.__version__}, which sees none",
            fix="use device=auto or device=cpu; or install PyTorch with CUDA where there is a GPU",
        )
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
