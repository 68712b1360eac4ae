"""What a conversion will take, from the headers of the checkpoint alone: memory, disk, and a rough time."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import torch

from darkit_nb.convert.model_source import ModelSource
from darkit_nb.convert.relations import Family, Widths, family_of, widths_of
from darkit_nb.convert.rounding import MOST_TRIED, SHARES
from darkit_nb.records.conversion import STEPWISE, ConversionPlan, ConversionSpec

FLOAT_BYTES = 4
"""Blocks are computed in float32."""

GRAM_BYTES = 8
"""Gram matrices are summed in float64."""

PROBE_SIZE, PROBE_SECONDS = 512, 0.03
"""Of the square products that tell how fast this machine is, and how much processor time each measurement takes."""


def plan_for(source: ModelSource, spec: ConversionSpec, out: Path | None = None) -> ConversionPlan:
    """The plan of a conversion.

    Args:
        source: the float model; only headers are read.
        spec: what to do.
        out: where the converted model will be, to compare its disk's room.

    Raises:
        ModelError: an architecture that cannot be converted.
    """
    family, widths = family_of(source.config), widths_of(source.config)
    in_blocks = _parameters(source, f"{family.blocks}.")
    block = in_blocks // widths.blocks
    around = source.parameters - in_blocks
    linears = block_linears(source, family)
    tokens = spec.samples * spec.sample_length
    resident = _resident_bytes(block, around, spec, widths)
    cache = 3 * tokens * widths.hidden * FLOAT_BYTES
    disk = _disk_bytes(source, spec, widths, sum(o * d for o, d in linears), around)
    seconds = _flops(spec, linears, tokens) * widths.blocks / machine_flops()
    free = shutil.disk_usage(_existing(out)).free if out is not None else None
    lines = (
        f"{source.name}: {type_name(source)}, {widths.blocks} blocks, {source.parameters / 1e6:,.1f} M parameters",
        f"{spec.name}: {steps_text(spec)}",
        f"calibration: {spec.samples} × {spec.sample_length} tokens",
        f"memory: {_size(resident)} for weights and working space of one block, {_size(cache)} for cached activations",
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
    )


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


def block_linears(source: ModelSource, family: Family) -> list[tuple[int, int]]:
    """Shapes of the linear layers of the first block, as stored."""
    found = []
    for name in family.linears:
        stored = source.stored_name(f"{family.blocks}.0.{name}.weight")
        if stored is not None:
            rows, columns = source.names()[stored][0]
            found.append((rows, columns))
    return found


def _resident_bytes(block: int, around: int, spec: ConversionSpec, widths: Widths) -> int:
    """One block as float, a copy and its codes; embeddings and head; the largest Gram matrix and its factors."""
    weights = (2 * FLOAT_BYTES + 2) * block + FLOAT_BYTES * around
    if spec.refine_epochs:
        weights += 3 * FLOAT_BYTES * block
    largest = max(widths.hidden, widths.inner)
    grams = 0 if spec.weights in ("rtn", "lwc") and not spec.clip_search else 5 * GRAM_BYTES * largest**2
    if spec.scale_sweep:
        grams += 8 * FLOAT_BYTES * min(MOST_TRIED, len(SHARES) * widths.hidden * widths.inner)
    rotation = 3 * GRAM_BYTES * widths.hidden**2 if spec.rotation in ("hadamard", "split") else 0
    return weights + max(grams, rotation)


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
    untied = widths.vocabulary * widths.hidden if spec.rotation in ("hadamard", "split") else 0
    rotation = GRAM_BYTES * widths.hidden**2 if spec.rotation in ("hadamard", "split") else 0
    return int(widths.blocks * linear * stored_bits(spec) / 8) + (around + untied) * width + rotation


def _flops(spec: ConversionSpec, linears: list[tuple[int, int]], tokens: int) -> float:
    """Floating point operations of one block: forwards, Gram matrices, factors, and training."""
    forward = 2.0 * tokens * sum(o * d for o, d in linears)
    total = 4 * forward
    if spec.weights not in ("rtn", "lwc") or spec.clip_search:
        # A sweep and a pass behind it take o·d² each, its error twice that; scales are tried for two groups.
        around = (6.0 * len(SHARES) if spec.scale_sweep else 0.0) + 4.0 * spec.code_passes
        grams = 4.0 if spec.float_target else 2.0
        total += sum(grams * tokens * d * d + 2.0 * d**3 + (4.0 + around) * o * d * d for o, d in linears) + forward
    if spec.rotation == "split":
        total += forward
    return total + spec.refine_epochs * 4 * forward


def machine_flops() -> float:
    """Floating point operations a second of float32 products on this machine were it idle.

    Counted by processor time of one thread, times threads: neither other programs nor threads that wait for a turn
    change that much. The best of three short measurements.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        one, other = torch.randn(PROBE_SIZE, PROBE_SIZE), torch.randn(PROBE_SIZE, PROBE_SIZE)
        torch.mm(one, other)
        return max(_flops_of(one, other) for _ in range(3)) * threads
    finally:
        torch.set_num_threads(threads)


def _flops_of(one: torch.Tensor, other: torch.Tensor) -> float:
    """Operations a second of processor time."""
    begun, count, used = time.thread_time(), 0, 0.0
    while used < PROBE_SECONDS:
        torch.mm(one, other)
        count, used = count + 1, time.thread_time() - begun
    return 2.0 * PROBE_SIZE**3 * count / used


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
