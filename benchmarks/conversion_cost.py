"""What a conversion costs: one LLaMA-7B block per preset, and the plan for 7B and 70B.

The block has the true shape (4 096 wide, 32 heads, feed-forward 11 008) and random weights; time and memory of a block
do not depend on what the weights are. The block sees few tokens; seconds for the published 128 × 2 048 tokens follow
from runs of two sizes and are marked `extrapolated`. Presets that train do so for one epoch and for two, on short
sequences and on long ones, whence the part of a training step that grows with tokens and the part that does not. Every
run is a process of its own: its `peak_bytes` are its alone.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from darkit_nb.config.conversions import preset
from darkit_nb.convert.driver import conversion_plan, convert_model
from darkit_nb.records.conversion import ConversionSpec

SEVEN_B = {"hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32, "num_key_value_heads": 32}
SEVENTY_B = {"hidden_size": 8192, "intermediate_size": 28672, "num_attention_heads": 64, "num_key_value_heads": 8}
QUICK = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4, "num_key_value_heads": 4}
SAMPLES, LENGTH = 2, 256
TIMES = 4
"""By how much the longer run has more calibration tokens."""
FULL_SAMPLES, FULL_LENGTH = 128, 2048
PRESETS = (
    *("rtn", "smoothquant", "gptq", "pb-llm", "spikellm-gptq", "quarot", "darkit"),
    *("spikellm-omniquant", "omniquant", "flatquant"),
)


def shape(sizes: dict[str, int], blocks: int, vocabulary: int) -> Any:
    """The configuration of a Llama of those sizes."""
    return AutoConfig.for_model(
        "llama", **sizes, num_hidden_layers=blocks, vocab_size=vocabulary, max_position_embeddings=4096, dtype="float16"
    )


def one_block(sizes: dict[str, int]) -> PreTrainedModel:
    """A decoder of one block with random weights and a small vocabulary."""
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(shape(sizes, 1, 256), dtype=torch.float32).eval()


def run(quick: bool) -> Iterator[dict[str, Any]]:
    """Plans, then a block per preset."""
    yield from plans()
    sizes = QUICK if quick else SEVEN_B
    model = one_block(sizes)
    for name in ("rtn", "omniquant") if quick else PRESETS:
        yield block(model, name, "small" if quick else "7B")


def plans() -> Iterator[dict[str, Any]]:
    for name, sizes, blocks in (("LLaMA-7B", SEVEN_B, 32), ("LLaMA-70B", SEVENTY_B, 80)):
        spec = preset("darkit", samples=FULL_SAMPLES, sample_length=FULL_LENGTH)
        start = time.perf_counter()
        plan = conversion_plan(shape(sizes, blocks, 32000), spec)
        kept = ("blocks", "parameters", "resident_bytes", "cache_bytes", "disk_bytes", "seconds_estimate")
        figures = {key: plan.to_dict()[key] for key in kept}
        yield {"what": "plan", "model": name, **figures, "planned_in_s": round(time.perf_counter() - start, 2)}


def block(model: PreTrainedModel, name: str, size: str) -> dict[str, Any]:
    """Seconds and memory of the block; what grows with the calibration is measured at two sizes of it."""
    with tempfile.TemporaryDirectory() as folder:
        model.half().save_pretrained(folder)
        model.float()
        return block_row(name, size, [alone(folder, name, *each) for each in block_sizes(name)])


def block_sizes(name: str) -> list[tuple[int, int, int]]:
    """Samples, their length and epochs of every run of a preset."""
    if preset(name).refine_epochs:
        return [(1, LENGTH, 1), (1, LENGTH, 2), (1, TIMES * LENGTH, 1)]
    return [(SAMPLES, LENGTH, 0), (TIMES * SAMPLES, LENGTH, 0)]


def block_row(name: str, size: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """What the runs of a preset come to."""
    epochs = preset(name).refine_epochs
    return {
        "what": "block",
        "model": size,
        "pipeline": preset(name).name,
        "runs": runs,
        "extrapolated": {
            "samples": FULL_SAMPLES,
            "length": FULL_LENGTH,
            "epochs": epochs,
            "seconds": round(_trained(runs, epochs) if epochs else _untrained(runs), 1),
            "by": "linear in tokens and training steps; attention's square is left out",
        },
    }


def _untrained(runs: list[dict[str, Any]]) -> float:
    few, more = runs
    tokens = [run["samples"] * run["length"] for run in runs]
    per_token = max(0.0, more["seconds"] - few["seconds"]) / (tokens[1] - tokens[0])
    return few["seconds"] + per_token * (FULL_SAMPLES * FULL_LENGTH - tokens[0])


def _trained(runs: list[dict[str, Any]], epochs: int) -> float:
    """A step takes a constant part, for the weights are coded anew in each, and a part by token.

    What tokens cost outside training is counted with the steps' once and by epoch, so it is counted too often.
    """
    once, twice, longer = (run["seconds"] for run in runs)
    step = max(0.0, twice - once) / runs[0]["samples"]
    per_token = max(0.0, longer - once) / (runs[0]["samples"] * LENGTH * (TIMES - 1))
    full_step = step + per_token * (FULL_LENGTH - LENGTH)
    return once + FULL_SAMPLES * epochs * full_step


def alone(folder: str, name: str, samples: int, length: int, epochs: int) -> dict[str, Any]:
    """One conversion in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_converted, folder, name, samples, length, epochs, torch.get_num_threads()).result()


def _converted(source: str, name: str, samples: int, length: int, epochs: int, threads: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    spec: ConversionSpec = preset(name, samples=samples, sample_length=length, refine_epochs=epochs)
    ids = torch.randint(0, 256, (samples, length), generator=torch.Generator().manual_seed(0))
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        report = convert_model(source, spec, calibration=ids, out=Path(folder) / "m")
    block = report.blocks[0]
    return {
        "samples": samples,
        "length": length,
        "epochs": epochs,
        "seconds": round(block.seconds, 2),
        "cpu_seconds": round(time.process_time() - start, 2),
        "peak_bytes": block.peak_bytes,
        "error": round(block.error, 5),
    }
