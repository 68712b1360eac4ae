"""What a conversion will take, from the headers of the checkpoint alone: memory, disk, and a rough time."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import torch

from darkit_nb.convert.model_source import ModelSource
from darkit_nb.convert.plan_time import block_work, machine_flops
from darkit_nb.convert.relations import Family, Widths, family_of, widths_of
from darkit_nb.convert.rounding import MOST_TRIED, SHARES
from darkit_nb.convert.sensitivity import FELT_TOKENS, part_width
from darkit_nb.convert.skeleton import TOKENS_PER_BATCH
from darkit_nb.evaluate.scoring import CHUNK
from darkit_nb.records.conversion import STEPWISE, ConversionPlan, ConversionSpec

FLOAT_BYTES = 4
"""Blocks are computed in float32."""

BATCH_TOKENS = 2048
"""Tokens of the windows that are scored at a time."""

HIDDEN_COPIES, STREAM_COPIES = 6, 8
"""Tensors as wide as the hidden layer and as the stream that a batch of tokens takes on its way through a block."""

ATTENTION_COPIES = 3
"""Matrices of queries by keys that attention keeps for its way back."""

GRAM_BYTES = 8
"""Gram matrices are summed in float64."""


def plan_for(
    source: ModelSource, spec: ConversionSpec, out: Path | None = None, *, processes: int = 1
) -> ConversionPlan:
    """The plan of a conversion.

    Args:
        source: the float model; only headers are read.
        spec: what to do.
        out: where the converted model will be, to compare its disk's room.
        processes: that share the samples; memory is that of one of them.

    Raises:
        ModelError: an architecture that cannot be converted.
    """
    whole, spec = spec, spec.replace(samples=-(-spec.samples // processes))
    family, widths = family_of(source.config), widths_of(source.config)
    in_blocks = _parameters(source, f"{family.blocks}.")
    block = in_blocks // widths.blocks
    around = source.parameters - in_blocks
    groups = layer_groups(source, family)
    tokens = spec.samples * spec.sample_length
    untied = not getattr(source.config, "tie_word_embeddings", False)
    held = around - untied * widths.vocabulary * widths.hidden  # a head of its own is read when the model is saved
    resident = _resident_bytes(block, held, spec, widths) + _saving_bytes(source, spec, widths, untied)
    cache = 3 * tokens * widths.hidden * FLOAT_BYTES + _felt_bytes(spec, widths)
    disk = _disk_bytes(source, spec, widths, sum(o * d for group in groups for o, d in group), around)
    seconds = block_work(spec, groups, widths.hidden) * widths.blocks / machine_flops()
    free = shutil.disk_usage(_existing(out)).free if out is not None else None
    lines = (
        f"{source.name}: {type_name(source)}, {widths.blocks} blocks, {source.parameters / 1e6:,.1f} M parameters",
        f"{spec.name}: {steps_text(spec)}",
        f"calibration: {whole.samples} × {spec.sample_length} tokens"
        + (f", shared among {processes} processes" if processes > 1 else ""),
        f"memory{' of each process' if processes > 1 else ''}: {_size(resident)} for weights and working space of one "
        f"block, {_size(cache)} for cached activations",
        f"disk: {_size(disk)}" + ("" if free is None else f" of {_size(free)} free"),
        f"time: roughly {_duration(seconds)}, estimated from the speed of products on this machine",
    )
    return ConversionPlan(
        source=source.name,
        architecture=type_name(source),
        blocks=widths.blocks,
        parameters=source.parameters,
        resident_bytes=resident,
        cache_bytes=cache,
        disk_bytes=disk,
        seconds_estimate=seconds,
        lines=lines,
        processes=processes,
    )


def with_scoring(plan: ConversionPlan, source: ModelSource, window: int) -> ConversionPlan:
    """The plan with what scoring takes behind it, when the rest is free again.

    The whole float model, the logits of a batch and of the chunk that is compared, and a batch on its way.

    Args:
        plan: of the conversion.
        source: the float model.
        window: tokens of a scored window.
    """
    widths, tokens = widths_of(source.config), window * max(1, BATCH_TOKENS // window)
    weights = sum(size for _, size in source.names().values())
    logits = widths.vocabulary * (source.dtype.itemsize * tokens + 3 * FLOAT_BYTES * CHUNK)
    way = source.dtype.itemsize * tokens * (HIDDEN_COPIES * widths.inner + STREAM_COPIES * widths.hidden)
    scoring = weights + logits + way
    line = f"scoring: {_size(scoring)} of memory for the whole float model and the logits of {tokens:,} tokens"
    return dataclasses.replace(plan, scoring_bytes=scoring, lines=(*plan.lines, line))


def type_name(source: ModelSource) -> str:
    """Class of the model in transformers."""
    named = getattr(source.config, "architectures", None)
    return named[0] if named else source.config.model_type


def steps_text(spec: ConversionSpec) -> str:
    """The steps of a conversion in their order, in words."""
    steps = []
    if spec.scaling != "none":
        steps.append("scale" if spec.scaling == "smooth" else "learned scales")
    if spec.rotation != "none":
        steps.append(
            {"hadamard": "rotate", "split": "split and rotate", "learned": "learned transforms"}[spec.rotation]
        )
    steps.append({"rtn": "round weights", "lwc": "learned clipping"}.get(spec.weights, f"{spec.weights} weights"))
    if spec.refine_epochs:
        steps.append(f"{spec.refine_epochs} epochs a block")
    spike = spec.spike
    if spike is None:
        steps.append("activations stay in float")
    elif spike.salient_fraction and spike.num_steps > 1:
        steps.append(f"{spike.salient_fraction:.3g} of the features get {spike.num_steps} {spike.coding} steps")
    return ", ".join(steps)


def _parameters(source: ModelSource, prefix: str) -> int:
    short = prefix.partition(".")[2]
    return sum(
        torch.Size(shape).numel()
        for name, (shape, _) in source.names().items()
        if name.startswith(prefix) or (short and name.startswith(short))
    )


def layer_groups(source: ModelSource, family: Family) -> list[list[tuple[int, int]]]:
    """Shapes of the linear layers of the first block, as stored; layers that share an input together."""
    stored = source.names()
    found = []
    for group in family.groups:
        names = [source.stored_name(f"{family.blocks}.0.{name}.weight") for name in group]
        found.append([(stored[name][0][0], stored[name][0][1]) for name in names if name is not None])
    return [shapes for shapes in found if shapes]


def _resident_bytes(block: int, around: int, spec: ConversionSpec, widths: Widths) -> int:
    """One block as float, a copy and its codes; embeddings; a batch on its way; the largest Gram matrix's factors."""
    weights = (2 * FLOAT_BYTES + 2) * block + FLOAT_BYTES * around
    batch = max(spec.sample_length, min(TOKENS_PER_BATCH, spec.samples * spec.sample_length))
    weights += FLOAT_BYTES * batch * (HIDDEN_COPIES * widths.inner + STREAM_COPIES * widths.hidden)
    if spec.refine_epochs:
        weights += 3 * FLOAT_BYTES * block
    largest = max(widths.hidden, widths.inner)
    grams = 0 if spec.weights in ("rtn", "lwc") and not spec.clip_search else 5 * GRAM_BYTES * largest**2
    if spec.scale_sweep:
        grams += 4 * FLOAT_BYTES * min(MOST_TRIED, (len(SHARES) + 1) * widths.hidden * widths.inner)
    rotation = 3 * GRAM_BYTES * widths.hidden**2 if spec.rotation in ("hadamard", "split") else 0
    return weights + max(grams, rotation) + (_felt_working_bytes(batch, spec, widths) if spec.shapes_errors else 0)


def _felt_working_bytes(batch: int, spec: ConversionSpec, widths: Widths) -> int:
    """A batch kept for its way back, with its attention, and a matrix for every part of every layer's outputs."""
    way = batch * (HIDDEN_COPIES * widths.inner + STREAM_COPIES * widths.hidden)
    attention = ATTENTION_COPIES * widths.heads * batch * spec.sample_length
    streams, inner = 5 * widths.hidden * part_width(widths.hidden), 2 * widths.inner * part_width(widths.inner)
    return FLOAT_BYTES * (way + attention) + GRAM_BYTES * (streams + inner)


def _felt_bytes(spec: ConversionSpec, widths: Widths) -> int:
    """What shaped rounding keeps: some tokens, or their gradients, before every block and behind the last."""
    if not spec.shapes_errors:
        return 0
    tokens = min(spec.samples * spec.sample_length, max(FELT_TOKENS, spec.sample_length))
    return FLOAT_BYTES * (widths.blocks + 1) * widths.hidden * tokens


def _saving_bytes(source: ModelSource, spec: ConversionSpec, widths: Widths, untied: bool) -> int:
    """Tables of the vocabulary as they are read, folded and written, while the computing ones are still held.

    The system gets little of a block's working space back by then, so this comes on top.
    """
    table, width = widths.vocabulary * widths.hidden, source.dtype.itemsize
    if spec.rotation in ("hadamard", "split"):
        held = 0 if width == FLOAT_BYTES else table  # the rotated embedding, in the dtype it is kept in
        return width * (2 * table + held)
    return width * table * (2 if untied else 1)


def stored_bits(spec: ConversionSpec) -> float:
    """Bits a weight will take, roughly: codes, and scales of a row or group."""
    share = spec.weight_salient_fraction
    codes = float(spec.weight_bits)
    if spec.weights in STEPWISE:
        codes = 2 * (1 - share) + share * (2 if spec.weight_steps == 1 else 4)
    elif spec.weights == "pb_llm":
        codes = 8.0  # both kinds of weights in codes of a byte (convert/pb.py)
    return codes + (40 / spec.group_size if spec.group_size else 0)


def _disk_bytes(source: ModelSource, spec: ConversionSpec, widths: Widths, linear: int, around: int) -> int:
    width = source.dtype.itemsize
    rotates = spec.rotation in ("hadamard", "split")
    tied = getattr(source.config, "tie_word_embeddings", False)
    head = widths.vocabulary * widths.hidden if rotates and tied else 0  # a rotation gives it one of its own
    rotation = GRAM_BYTES * widths.hidden**2 if rotates else 0
    return int(widths.blocks * linear * stored_bits(spec) / 8) + (around + head) * width + rotation


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def _size(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
