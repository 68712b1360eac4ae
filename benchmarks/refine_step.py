"""One step of block-wise training (forward, backward, AdamW): in closed form by blocks of outputs, and as defined.

Rivals train the same block on the same sequences; weights, streams and masks are random, on which time does not depend.
Before anything is timed, losses must agree at a rate so small that no rounding is turned over. A step lasts from the
first operation of one sequence to that of the next; rounds of both take turns in one process. Of a block of LLaMA-7B
each rival takes one step in a process of its own, whose `peak_bytes` are its alone.

One thread: OMP_NUM_THREADS=1 darkit-nb bench refine_step
"""

from __future__ import annotations

import copy
import itertools
import multiprocessing
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from benchmarks.harness import spread
from darkit_nb.config.conversions import preset
from darkit_nb.convert.folding import linear_of
from darkit_nb.convert.learned_parts import BlockShape
from darkit_nb.convert.peak_memory import PeakMemory
from darkit_nb.convert.refine import refine_block
from darkit_nb.convert.skeleton import Skeleton
from darkit_nb.convert.source import LoadedSource
from darkit_nb.records.spike_spec import Backend

SIZES: dict[str, tuple[int, int, int, int]] = {  # width, hidden features, heads, key and value heads
    "novel-llama": (192, 512, 6, 3),
    "SmolLM2-135M": (576, 1536, 9, 3),
    "LLaMA-7B": (4096, 11008, 32, 32),
}
RIVALS: dict[str, Backend] = {"definition": "reference", "closed form": "auto"}
PRESETS = ("omniquant", "spikellm-omniquant", "flatquant")
TOKENS, STEPS = 256, 8
AGREEMENT = 1e-4
"""Of losses, relative. Behind transforms a weight differs in its last bits, and one rounding may turn over."""
STILL = 1e-7
"""A learning rate at which nothing moves that could turn a rounding over."""


class Case:
    """A block of random weights with both streams."""

    def __init__(self, size: str, name: str, sequences: int = STEPS + 1) -> None:
        width, hidden, heads, kv_heads = SIZES[size]
        torch.manual_seed(0)
        config = AutoConfig.for_model(
            "llama", hidden_size=width, intermediate_size=hidden, num_attention_heads=heads,
            num_key_value_heads=kv_heads, num_hidden_layers=1, vocab_size=256,
        )  # fmt: skip
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        self.skeleton = Skeleton(LoadedSource(model))
        self.skeleton.fill_front()
        self.skeleton.enter(torch.zeros(1, TOKENS, dtype=torch.long))
        self.block = self.skeleton.block(0)
        self.spec = preset(name, refine_epochs=1)
        floats = [torch.randn(1, TOKENS, width) for _ in range(sequences)]
        self.targets = self.skeleton.run(self.block, 0, floats)
        self.inputs = [x + 0.05 * torch.randn_like(x) for x in floats]

    def train(self, backend: Backend, **changes: Any) -> tuple[list[float], list[float]]:
        """Losses of the epoch, and seconds of every step but the last."""
        family, begun = self.skeleton.family, []
        layers = {name: linear_of(self.block, name).in_features for name in family.linears}
        spike, spec = self.spec.spike, self.spec.replace(**changes)
        some = spike is not None and spike.salient_fraction > 0

        def call(block: nn.Module, hidden: Tensor) -> Tensor:
            begun.append(time.perf_counter())
            return self.skeleton.call(block, 0, hidden)

        found = refine_block(
            copy.deepcopy(self.block),
            BlockShape(family, self.skeleton.widths, rotary=True),
            spec,
            inputs=self.inputs,
            targets=self.targets,
            call=call,
            absmax={group[0]: torch.linspace(1, 3, layers[group[0]]) for group in family.groups},
            salient={name: torch.arange(width) % 10 == 0 for name, width in layers.items()} if some else {},
            backend=backend,
        )
        return found.losses, [after - before for before, after in itertools.pairwise(begun)]


def check(case: Case) -> None:
    """Refuse rivals that learn something else.

    Raises:
        AssertionError: their losses differ.
    """
    rates = {"refine_scaling_rate": STILL, "refine_clip_rate": STILL}
    wanted, found = (case.train(backend, **rates)[0][0] for backend in RIVALS.values())
    assert abs(found - wanted) <= AGREEMENT * wanted, f"losses {wanted} and {found}"


def measure(size: str, name: str, rounds: int) -> dict[str, Any]:
    """Both rivals in turn; a round gives the median of its steps."""
    case = Case(size, name)
    check(case)
    seconds: dict[str, list[float]] = {rival: [] for rival in RIVALS}
    for turn in range(rounds):
        for rival in list(RIVALS)[:: 1 if turn % 2 else -1]:
            seconds[rival].append(statistics.median(case.train(RIVALS[rival])[1]))
    first, second = seconds.values()
    return {
        **_facts(size, name),
        "rounds": rounds,
        "seconds": {rival: spread(values) for rival, values in seconds.items()},
        "ratio": {"closed form": spread([own / base for base, own in zip(first, second, strict=True)])},
    }


def _facts(size: str, name: str) -> dict[str, Any]:
    return {
        "operation": "training step of a block",
        "preset": name,
        "model": size,
        "shape": SIZES[size][:2],
        "tokens": TOKENS,
    }


def alone(size: str, name: str) -> dict[str, Any]:
    """One step of each rival in a process of its own."""
    taken = {}
    for rival, backend in RIVALS.items():
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            taken[rival] = pool.submit(_step_alone, size, name, backend, torch.get_num_threads()).result()
    first, second = (each[0] for each in taken.values())
    return {
        **_facts(size, name),
        "rounds": 1,
        "seconds": {rival: spread([seconds]) for rival, (seconds, _, _) in taken.items()},
        "ratio": {"closed form": spread([second / first])},
        "peak_bytes": {rival: peak for rival, (_, peak, _) in taken.items()},
        "begin_bytes": {rival: before for rival, (_, _, before) in taken.items()},
    }


def _step_alone(size: str, name: str, backend: Backend, threads: int) -> tuple[float, int, int]:
    """Seconds of the first of two steps; most memory held, and what it was before training."""
    torch.set_num_threads(threads)
    case = Case(size, name, sequences=2)
    before = PeakMemory().update(torch.device("cpu"))
    return case.train(backend)[1][0], PeakMemory().update(torch.device("cpu")), before


def run(quick: bool) -> Iterator[dict[str, Any]]:
    """Both small shapes with every preset, then a block of LLaMA-7B."""
    if quick:
        yield measure("novel-llama", "spikellm-omniquant", 1)
        return
    for size in ("novel-llama", "SmolLM2-135M"):
        for name in PRESETS:
            yield measure(size, name, 9 if size == "novel-llama" else 5)
    for name in ("omniquant", "flatquant"):
        yield alone("LLaMA-7B", name)
