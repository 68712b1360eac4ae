"""Conversions made by hand, without a model, for records, views and panels: four blocks, five pipelines."""

from __future__ import annotations

import math
from typing import Any

from darkit_nb.records.conversion import BlockReport, ConversionPlan, LayerError
from darkit_nb.records.conversion_progress import ConversionProgress
from darkit_nb.records.conversion_result import ConversionCost, ConversionRow
from darkit_nb.records.paired import PairedDifference, WindowLosses
from tests.records.reports import energy

KINDS = (
    ("self_attn.q_proj", 192, 192, 1.0),
    ("self_attn.k_proj", 192, 96, 1.1),
    ("self_attn.v_proj", 192, 96, 1.4),
    ("self_attn.o_proj", 192, 192, 2.1),
    ("mlp.gate_proj", 192, 512, 1.2),
    ("mlp.up_proj", 192, 512, 1.3),
    ("mlp.down_proj", 512, 192, 3.4),
)

TABLE = (
    # pipeline, Δ bits/byte, s.e., steps, code bits, stored bits, ACE
    ("rtn W4A4", 0.1050, 0.0048, 1.0, 4.0, 4.17, 16.0),
    ("spikellm-omniquant W4A4", 0.0611, 0.0039, 1.1, 4.095, 4.18, 17.6),
    ("quarot W4A4", 0.0238, 0.0027, 1.0, 4.0, 4.17, 16.0),
    ("darkit W4A4", 0.0163, 0.0024, 1.125, 4.5, 4.18, 18.0),
)


def plan(blocks: int = 4) -> ConversionPlan:
    return ConversionPlan(
        source="novel-llama",
        architecture="LlamaForCausalLM",
        blocks=blocks,
        parameters=2_828_736,
        resident_bytes=1_769_472,
        cache_bytes=6_291_456,
        disk_bytes=4_100_000,
        seconds_estimate=31.0,
        lines=(f"darkit W4A4: {blocks} blocks, one after the other.", "32 calibration samples of 256 tokens."),
    )


def block(index: int, **changes: Any) -> BlockReport:
    layers = tuple(
        LayerError(
            name=f"model.layers.{index}.{kind}",
            in_features=d,
            out_features=o,
            error=0.002 * weight * (1 + 0.5 * index),
            mean_steps=1.125,
            activation_bits=4.0,
            code_bits=4.5,
            weight_bits=4.0,
            storage_bits=4.18,
        )
        for kind, d, o, weight in KINDS
    )
    plain: dict[str, Any] = {
        "index": index,
        "name": f"model.layers.{index}",
        "seconds": 3.5 + index,
        "peak_bytes": 412_000_000,
        "error": 0.004 * (1 + index),
        "own_error": 0.003,
        "layers": layers,
    }
    return BlockReport(**plain | changes)


def losses(bits: float, windows: int = 64) -> WindowLosses:
    """A text whose windows differ by what everybody finds hard, and cost `bits` a byte on average."""
    bytes_per_token = 3.1
    hard = [0.05 * math.sin(index) for index in range(windows)]
    mean = sum(hard) / windows
    nats = tuple((bits + each - mean) * math.log(2) * bytes_per_token for each in hard)
    return WindowLosses(text="valid.txt", window=256, bytes_per_token=bytes_per_token, nats=nats, text_sha256="ab" * 32)


def cost(mean_steps: float, code_bits: float, storage_bits: float, ace: float) -> ConversionCost:
    return ConversionCost(
        mean_steps=mean_steps,
        code_bits=code_bits,
        weight_bits=4.0,
        storage_bits=storage_bits,
        weight_bytes=round(2_359_296 * storage_bits / 8),
        float_bytes=2 * 2_359_296,
        ace=ace,
        unary_events=7.4 * mean_steps,
        bitwise_events=1.9 * mean_steps,
        energy=energy(),
    )


def rows() -> tuple[ConversionRow, ...]:
    """The float model and what four pipelines made of it."""
    found = [ConversionRow(name="float", source="novel-llama", path="models/novel-llama", losses=losses(1.678))]
    for name, delta, error, *cells in TABLE:
        found.append(
            ConversionRow(
                name=name,
                source="novel-llama",
                path=f"converted/{name.replace(' ', '-')}",
                losses=losses(1.678 + delta),
                delta=PairedDifference(
                    delta=delta,
                    standard_error=error,
                    low=delta - 2.0 * error,
                    high=delta + 2.0 * error,
                    windows=64,
                ),
                cost=cost(*cells),
                seconds=24.0,
                peak_bytes=412_000_000,
            )
        )
    return tuple(found)


def progress(done: int = 2, **changes: Any) -> ConversionProgress:
    """A conversion in the middle of its blocks."""
    plain: dict[str, Any] = {
        "id": "tiny-spiking.run",
        "name": "darkit W4A4",
        "source": "novel-llama",
        "out": "tiny-spiking",
        "state": "running",
        "stage": f"block {done + 1} of 4",
        "blocks_done": done,
        "blocks": 4,
        "plan": plan(),
        "reports": tuple(block(index) for index in range(done)),
        "elapsed_s": 9.0,
        "eta_s": 9.0,
    }
    return ConversionProgress(**plain | changes)
