"""The converted model on disk: the format of `save_pretrained`, put together from the files of its blocks.

Nothing is gathered in memory but one file at a time. The folder appears when it is complete.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from darkit_nb.convert import folding
from darkit_nb.convert.model_source import ModelSource
from darkit_nb.convert.peak_memory import PeakMemory
from darkit_nb.convert.skeleton import Skeleton
from darkit_nb.convert.work import WorkFolder
from darkit_nb.convert.writing import appearing, write_json, write_tensors
from darkit_nb.errors import ModelError
from darkit_nb.records.conversion import BlockReport, ConversionReport, ConversionSpec
from darkit_nb.runs.conversion_files import REPORT
from darkit_nb.spikify.quantizer import DarkitConfig

ONE_FILE_BYTES = 1 << 29
"""Models up to this size are one file; larger ones have a file a block."""

_NOT_COPIED = {"config.json", "model.safetensors.index.json", REPORT}


@dataclass(frozen=True)
class Saved:
    """Everything saving needs besides the blocks' files.

    Attributes:
        source, skeleton, spec, work: of the conversion.
        rotation: of the residual stream, or None.
        tables: embeddings that replace the source's, by full name.
        rms_norms: names within a block of norms that became RMSNorms.
        out: folder to make.
        key: digest of what was converted.
        peak: most memory so far, to be looked at once more behind the weights.
        extra_seconds: wall time beside the blocks.
    """

    source: ModelSource
    skeleton: Skeleton
    spec: ConversionSpec
    work: WorkFolder
    rotation: Tensor | None
    tables: Mapping[str, Tensor]
    rms_norms: tuple[str, ...]
    out: Path
    key: str
    peak: PeakMemory
    extra_seconds: float

    @property
    def head(self) -> str:
        """Full name of the head's weight."""
        return f"{self.skeleton.family.head}.weight"

    @property
    def embedding(self) -> str:
        """Full name of the embedding's weight."""
        return f"{self.skeleton.family.embeddings[0]}.weight"

    @property
    def tied(self) -> bool:
        """Whether the float model's head is its embedding."""
        return self.source.head_is_embedding(self.head, self.embedding)


def check_out(out: Path, key: str, *, resume: bool) -> ConversionReport | None:
    """The report of the same conversion, finished before; None where there is room for a new one.

    Raises:
        ModelError: something else is there.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    report = saved_report(out, key) if resume else None
    if report is None:
        raise ModelError(
            f"There is something at {out} already.",
            expected="a folder that does not exist or is empty",
            received="another converted model" if (out / REPORT).is_file() else "other files",
            fix="choose another folder with out=…, or remove it",
        )
    return report


def saved_report(out: Path, key: str) -> ConversionReport | None:
    """The report of the conversion `key` if it is finished in `out`."""
    file = out / REPORT
    if not file.is_file():
        return None
    known = json.loads(file.read_text())
    return ConversionReport.from_dict(known) if known.get("key") == key else None


def front_tensors(job: Saved) -> tuple[dict[str, Tensor], bool]:
    """Embeddings, final norm and head of the converted model by full name, and whether the head has a bias now."""
    model, family, source = job.skeleton.model, job.skeleton.family, job.source
    head, tied = job.head, job.tied
    found: dict[str, Tensor] = {}
    names = [name for name in model.state_dict() if not name.startswith(f"{family.blocks}.")]
    if job.rotation is None:
        return {name: source.tensor(name) for name in names if not (tied and name == head)}, False
    stored = source.tensor(job.embedding if tied else head)
    gain = source.tensor(f"{family.final_norm}.weight")
    bias = source.tensor(f"{family.final_norm}.bias") if family.centred else None
    weight, shift = folding.folded_head(stored, gain, bias, job.rotation.cpu())
    for name in names:
        if name in job.tables:
            found[name] = job.tables[name].to(source.dtype)
        elif name == f"{family.final_norm}.weight":
            found[name] = torch.ones_like(gain)
        elif name not in (f"{family.final_norm}.bias", head):
            found[name] = source.tensor(name)
    found[head] = weight
    if shift is not None:
        found[f"{family.head}.bias"] = shift
    return found, shift is not None


def save_converted(job: Saved, reports: Sequence[BlockReport]) -> ConversionReport:
    """Write the converted model and its report.

    Raises:
        ModelError: the disk is full; the work folder stays, and the same call saves again.
    """
    with appearing(job.out) as folder:
        layers, head_bias = _write_weights(job, folder, len(reports))
        _write_config(job, folder, layers, head_bias)
        _copy_rest(job, folder)
        report = _report(job, folder, reports)
        write_json(folder / REPORT, {**report.to_dict(), "key": job.key})
    return report


def _write_weights(job: Saved, folder: Path, blocks: int) -> tuple[dict[str, Any], bool]:
    front, head_bias = front_tensors(job)
    files = [job.work.tensors(index) for index in range(blocks)]
    layers: dict[str, Any] = {}
    for index in range(blocks):
        layers |= job.work.read_layers(index)
    size = sum(tensor.nbytes for tensor in front.values()) + sum(file.stat().st_size for file in files)
    if size <= ONE_FILE_BYTES:
        for file in files:
            front |= load_file(file)
        write_tensors(folder / "model.safetensors", front)
        return layers, head_bias
    places: dict[str, str] = {}
    shards = blocks + 1
    write_tensors(folder / f"model-00001-of-{shards:05}.safetensors", front)
    places |= dict.fromkeys(front, f"model-00001-of-{shards:05}.safetensors")
    for number, file in enumerate(files, 2):
        shard = f"model-{number:05}-of-{shards:05}.safetensors"
        _take(file, folder / shard)
        places |= dict.fromkeys(job.work.tensor_names(number - 2), shard)
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": places})
    return layers, head_bias


def _take(file: Path, place: Path) -> None:
    """A second name for a finished block, which takes no room; a copy where the file system has no such names."""
    try:
        os.link(file, place)
    except OSError:
        shutil.copyfile(file, place)


def _write_config(job: Saved, folder: Path, layers: dict[str, Any], head_bias: bool) -> None:
    spec, skeleton = job.spec, job.skeleton
    names = [skeleton.block_name(index) for index in range(skeleton.blocks)]
    norms = [f"{name}.{norm}" for name in names for norm in job.rms_norms]
    if job.rms_norms:
        norms.append(skeleton.family.final_norm)
    conversion = {
        "spec": spec.to_dict(),
        "layers": layers,
        "rms_norms": norms,
        "head_bias": head_bias,
        "key_rotation": job.rotation is not None,
    }
    config = copy.deepcopy(job.source.config)
    config.tie_word_embeddings = job.rotation is None and job.tied
    config.architectures = [type(skeleton.model).__name__]
    config.dtype = job.source.dtype
    spike = None if spec.spike is None else spec.spike.to_dict()
    config.quantization_config = DarkitConfig(spike=spike, conversion=conversion)
    config.save_pretrained(folder)


def _copy_rest(job: Saved, folder: Path) -> None:
    """Tokenizer, generation settings and what else lies beside the weights."""
    source = job.source.folder
    if source is None:
        return
    for file in sorted(source.iterdir()):
        wanted = file.suffix in (".json", ".txt", ".model", ".jinja") and file.name not in _NOT_COPIED
        if wanted and file.is_file():
            shutil.copyfile(file, folder / file.name)


def _report(job: Saved, folder: Path, reports: Sequence[BlockReport]) -> ConversionReport:
    layers = [layer for block in reports for layer in block.layers]
    return ConversionReport(
        spec=job.spec,
        source=job.source.name,
        out=str(job.out),
        blocks=tuple(reports),
        seconds=sum(block.seconds for block in reports) + job.extra_seconds,
        peak_bytes=job.peak.update(job.skeleton.device),
        float_bytes=sum(2 * layer.macs for layer in layers),
        converted_bytes=round(sum(layer.storage_bits * layer.macs / 8 for layer in layers)),
        saved_bytes=sum(file.stat().st_size for file in folder.iterdir()),
    )
