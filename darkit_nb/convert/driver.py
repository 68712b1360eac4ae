"""Conversion from beginning to end: plan, statistics, block by block, save; every block restartable.

Two streams of hidden states go through the model: the float one says what a block should give, the quantised one what
it really gets. Memory holds one block, both streams, and what surrounds the blocks.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from darkit_nb.convert.block import convert_block
from darkit_nb.convert.budget import find_shares
from darkit_nb.convert.checks import check_finite, check_memory, checked_calibration
from darkit_nb.convert.front import fold_front, found_rotation
from darkit_nb.convert.model_source import ModelSource
from darkit_nb.convert.peak_memory import PeakMemory
from darkit_nb.convert.plan import plan_for
from darkit_nb.convert.prepare import float_block, prepare_block
from darkit_nb.convert.save import Saved, check_out, save_converted
from darkit_nb.convert.sensitivity import layer_sensitivity, stream_gradients
from darkit_nb.convert.skeleton import Skeleton
from darkit_nb.convert.source import open_source
from darkit_nb.convert.surroundings import Surroundings
from darkit_nb.convert.work import WorkFolder
from darkit_nb.errors import DarkitError, DataError
from darkit_nb.records.conversion import BlockReport, ConversionPlan, ConversionReport, ConversionSpec
from darkit_nb.train.group import is_main, rank, world
from darkit_nb.train.processes import any_of, from_first, same_everywhere, together

Event = Callable[[dict[str, Any]], None]


class ConversionStopped(DarkitError):  # noqa: N818 - nothing went wrong
    """The conversion was asked to stop. Finished blocks stay, and the same call goes on behind them."""


def conversion_plan(
    source: str | Path | PreTrainedModel | PreTrainedConfig,
    spec: ConversionSpec,
    *,
    out: Path | None = None,
    revision: str | None = None,
    processes: int = 1,
) -> ConversionPlan:
    """What converting a model will take: memory, disk, time. Reads headers only, whatever the model's size.

    Args:
        source: folder, hub id, a model in memory, or a transformers config of a model that is not here.
        spec: what to do; `darkit_nb.conversion_preset` makes one.
        out: where the converted model will be, to compare with the disk's room.
        revision: of a hub id.
        processes: that are to share the calibration text; memory and time are then those of one of them.

    Raises:
        ModelError: nothing to convert there, or an architecture that cannot be converted.
    """
    return plan_for(open_source(source, revision=revision), spec, out, processes=processes)


def convert_model(
    source: str | Path | PreTrainedModel,
    spec: ConversionSpec,
    *,
    calibration: Tensor,
    out: str | Path,
    on_event: Event | None = None,
    should_stop: Callable[[], bool] | None = None,
    resume: bool = True,
    device: str | torch.device = "cpu",
    revision: str | None = None,
) -> ConversionReport:
    """Convert a trained decoder into a spiking one, block by block, and save it.

    Finished blocks lie in `<out>.conversion/` until the model is saved; the same call after an interruption, a crash or
    `kill -9` takes them over and gives the same model bit for bit.

    Started by `accelerate launch` or `torchrun`, or with torch.distributed running, every process calls this with the
    same arguments and takes its share of the calibration samples; the first one writes, an error of one is raised in
    all, and `out` lies where all can read it. Statistics are sums over the samples, so another number of processes adds
    them in another order: a weight whose rounding is a tie may get another code. One conversion stays with one number.

    Args:
        source: folder or hub id of a float model, or one in memory, which is read and not changed.
        spec: what to do; `darkit_nb.conversion_preset` makes one.
        calibration: `[N, L]` token ids; the first `spec.samples` rows and `spec.sample_length` columns are used.
        out: folder to make, in the format of `save_pretrained`; `darkit_nb.load_model(out)` loads it.
        on_event: gets `{"kind": "plan" | "statistics" | "block" | "saved", …}` as it goes; all but blocks carry a
            `text`, blocks and the end a `report`, as plain data.
        should_stop: asked between blocks; of several processes one that says so is enough.
        resume: False begins anew.
        device: that computes; weights and streams of one block must fit. Of several processes each names its own.
        revision: of a hub id.

    Raises:
        ModelError: the source cannot be read or converted, holds weights that are not finite, or is converted already;
            `out` is taken or cannot be written; or another version or other code of the package began there, or another
            number of processes.
        RunError: another process is at work on it.
        DataError: calibration that is too short, holds unknown tokens, or gives values that are not finite.
        ConversionStopped: `should_stop` said so.
    """
    with together():
        opened = open_source(source, revision=revision)
        made = _Conversion(opened, spec, calibration, Path(out), on_event, should_stop, torch.device(device))
        return made.run(resume)


@dataclass(frozen=True)
class _Streams:
    """Hidden states `[B, L, D]` before a block, batch by batch: those of the float model and those it really gets."""

    floats: list[Tensor]
    quantised: list[Tensor]


class _Conversion:
    """One conversion under way."""

    def __init__(
        self,
        source: ModelSource,
        spec: ConversionSpec,
        calibration: Tensor,
        out: Path,
        on_event: Event | None,
        should_stop: Callable[[], bool] | None,
        device: torch.device,
    ) -> None:
        self.source, self.spec, self.out = source, spec, out
        self.plan = plan_for(source, spec, out, processes=world())
        self.ids = checked_calibration(calibration, spec, source)
        self.key = _key(source, spec, self.ids)
        self.work = WorkFolder(out)
        self.tell = on_event or (lambda _: None)
        self.should_stop = should_stop or (lambda: False)
        self.device = device
        self.peak = PeakMemory()
        self.begun, self.block_seconds = time.perf_counter(), 0.0

    def run(self, resume: bool) -> ConversionReport:
        """Everything, from the plan to the saved model, while nobody else works on the same one."""
        with ExitStack() as held:
            from_first(lambda: held.enter_context(self.work.held()))
            return self._run(resume)

    def _run(self, resume: bool) -> ConversionReport:
        self._tell(kind="plan", plan=self.plan.to_dict(), text=self.plan.text)
        if not same_everywhere(self.key.encode()):
            raise DataError(
                "The processes were given different conversions.",
                expected="the same model, settings and calibration text in each",
                received="arguments that differ",
                cause="a text that was drawn with another seed in each process",
            )
        finished = from_first(lambda: check_out(self.out, self.key, resume=resume))
        if finished is not None:
            from_first(self.work.remove)  # of an earlier start that was killed between saving and clearing away
            self._tell(kind="saved", report=finished.to_dict(), text="converted before")
            return finished
        check_memory(self.plan, self.spec, self.device)
        skeleton = Skeleton(self.source, device=self.device)
        from_first(lambda: self._claim(skeleton, resume))
        ids = self.ids[rank() :: world()]
        rotation = found_rotation(skeleton, self.spec, self.work, ids, self._tell)
        tables = fold_front(skeleton, rotation)
        if self.spec.refine_epochs:
            skeleton.enter(ids[:1])  # training takes one sequence at a time
        floats = skeleton.enter(ids)
        shares = find_shares(skeleton, rotation, floats, self.spec)
        check_finite(floats, "What the embeddings give")
        surroundings = Surroundings(skeleton, rotation, self.spec, self._felt(skeleton, rotation, floats))
        reports = self._blocks(surroundings, floats, shares)
        report = from_first(lambda: self._save(surroundings, tables, reports))
        self._tell(kind="saved", report=report.to_dict(), text=f"saved in {self.out}")
        return report

    def _claim(self, skeleton: Skeleton, resume: bool) -> None:
        """Make the work folder, or go on in it."""
        skeleton.check_source()
        self.work.begin(self.key, self.spec, self.source.name, resume=resume, processes=world())

    def _felt(self, skeleton: Skeleton, rotation: Tensor | None, floats: list[Tensor]) -> list[list[Tensor]]:
        """What predictions feel of an error behind each block; nothing where rounding is not shaped by it.

        Found again at a later start, with the same draws.
        """
        if not self.spec.shapes_errors:
            return []
        self._tell(kind="statistics", text="looking for what predictions feel of errors behind each block")
        return stream_gradients(skeleton, rotation, floats, self.spec.seed)

    # -- the blocks ------------------------------------------------------------------------------------------------

    def _blocks(self, around: Surroundings, floats: list[Tensor], shares: list[dict[str, float]]) -> list[BlockReport]:
        streams, reports, blocks = _Streams(floats, floats), [], around.skeleton.blocks
        done = from_first(lambda: self.work.finished(blocks))
        for index in range(blocks):
            if any_of(self.should_stop()):
                raise ConversionStopped(
                    f"The conversion was stopped before block {index + 1} of {blocks}.",
                    fix="convert again with the same settings: it goes on there",
                )
            if index < done:
                report, streams = self._taken_over(around, index, streams)
            else:
                report, streams = self._converted(around, index, streams, shares[index])
            reports.append(report)
            self._tell(kind="block", report=report.to_dict())
        return reports

    def _taken_over(
        self, around: Surroundings, index: int, before: _Streams, *, resumed: bool = True
    ) -> tuple[BlockReport, _Streams]:
        """A block of an earlier start: both streams through what it made."""
        report, layers, tensors = self.work.read_block(index)
        # The same arithmetic as when it was made: the streams behind it are the same to the last bit.
        floats = around.skeleton.run(float_block(around.skeleton, index, around.rotation), index, before.floats)
        quantised = around.skeleton.run(around.kept_block(index, layers, tensors), index, before.quantised)
        return replace(report, resumed=resumed), _Streams(floats, quantised)

    def _converted(
        self, around: Surroundings, index: int, before: _Streams, shares: dict[str, float]
    ) -> tuple[BlockReport, _Streams]:
        begun, skeleton, name = time.perf_counter(), around.skeleton, around.skeleton.block_name(index)
        prepared = prepare_block(skeleton, index, before.floats, self.spec, around.rotation, shares)
        check_finite(prepared.outputs, f"The output of {name}")
        if around.felt:
            prepared.felt = layer_sensitivity(skeleton, index, prepared.block, before.floats, around.felt[index])
        made = convert_block(skeleton, index, prepared, before.floats, before.quantised, self.spec)
        check_finite(made.outputs, f"The converted {name}")
        report = BlockReport(
            index=index,
            name=name,
            seconds=time.perf_counter() - begun,
            peak_bytes=self.peak.update(self.device),
            error=made.error,
            own_error=made.own_error,
            layers=made.layers,
            losses=made.losses,
        )
        from_first(lambda: self.work.write_block(report, *around.to_keep(index, made.block)))
        self.block_seconds += report.seconds
        if not same_everywhere(_digest(made.block)):
            # Processors that round in other ways: go on from what is kept, as a later start would.
            return self._taken_over(around, index, before, resumed=False)
        return report, _Streams(prepared.outputs, made.outputs)

    # -- the end ---------------------------------------------------------------------------------------------------

    def _save(self, around: Surroundings, tables: Mapping[str, Tensor], reports: list[BlockReport]) -> ConversionReport:
        saved = save_converted(self._saved(around, tables), reports)
        self.work.remove()
        return saved

    def _saved(self, around: Surroundings, tables: Mapping[str, Tensor]) -> Saved:
        return Saved(
            source=self.source,
            skeleton=around.skeleton,
            spec=self.spec,
            rotation=around.rotation,
            tables=tables,
            rms_norms=around.rms_norms,
            work=self.work,
            out=self.out,
            key=self.key,
            peak=self.peak,
            extra_seconds=time.perf_counter() - self.begun - self.block_seconds,
        )

    def _tell(self, **event: Any) -> None:
        if is_main():
            self.tell(event)


def _key(source: ModelSource, spec: ConversionSpec, ids: Tensor) -> str:
    """Digest of model, settings and text."""
    digest = hashlib.sha256(source.fingerprint().encode())
    digest.update(json.dumps(spec.to_dict(), sort_keys=True).encode())
    digest.update(ids.numpy().tobytes())
    return digest.hexdigest()


def _digest(block: nn.Module) -> bytes:
    """Of all tensors of a block; nothing is computed where one process works alone."""
    digest = hashlib.sha256()
    for name, tensor in block.state_dict().items() if world() > 1 else ():
        digest.update(name.encode())
        digest.update(cast(Any, tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()))
    return digest.digest()
