"""Kernels on a GPU, in fractions of the measured copy bandwidth, against every rival that is there.

Working sets rotate through four times the second-level cache. Kernels are timed call by call and as CUDA graphs.
SpikingJelly 2.0.0 (Triton) is timed where this interpreter has it; 0.0.0.0.14 (CuPy) in the interpreter that
DARKIT_SPIKINGJELLY_14 names. Everything in one line:

    darkit-nb bench --device cuda
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from darkit_nb.functional.spike_linear import spike_product as product_law
from darkit_nb.functional.weight import weight_encode
from darkit_nb.ops._cupy import CupyLauncher
from darkit_nb.ops._gif_blocked import GifLaw
from darkit_nb.ops._packed_kernel import matvec, pack_weight
from darkit_nb.ops.backend import resolve_backend
from darkit_nb.ops.gif import gif_encode
from darkit_nb.ops.spike_product import prepare_products

from . import counted_bytes as counted
from . import cuda_neurons, cuda_tokens, training_step
from .cuda_harness import Bench, part, said
from .harness import not_measured

DEVICE = "cuda"
OPERATIONS = (
    "LIF forward",
    "LIF backward",
    "LIF forward and backward",
    "quantise and fire",
    "quantise and fire, forward and backward through the range",
    "quantise and fire, backward",
    "spiking linear",
    "one token",
    "training step",
)


def _linear(bench: Bench, rows: int, features: int, outputs: int) -> Iterator[dict[str, Any]]:
    """An integer product with 4-bit weights against bfloat16: whole batches, or one token, whose bytes decide."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(rows, features, generator=random).to(bench.device)
    law, spikes = GifLaw(16), partial(gif_encode, num_levels=16)

    def make(index: int) -> tuple[Tensor, Tensor, Any, Any, Any]:
        weight = torch.randn(outputs, features, generator=torch.Generator().manual_seed(index)).to(bench.device)
        codes = weight_encode(weight, 4)
        packed = pack_weight(codes, None) if bench.on_gpu and rows == 1 else None
        return x.bfloat16(), weight.bfloat16(), prepare_products(codes, None, law), codes, packed

    sets = bench.sets(make, outputs * features // 2)
    expected = product_law(spikes(sets[0][0]), sets[0][3])
    torch.testing.assert_close(sets[0][2].linear(sets[0][0], torch.float32), expected, rtol=1e-5, atol=1e-4)
    rivals = {
        "bfloat16 product": lambda each: linear(each[0], each[1]),
        "ours, W4A4": lambda each: each[2].linear(each[0], torch.bfloat16),
    }
    if sets[0][4] is not None:
        one = lambda each: matvec(spikes(each[0]), each[4], None, CupyLauncher(), torch.bfloat16)  # noqa: E731
        torch.testing.assert_close(one(sets[0]).float(), expected, rtol=1e-2, atol=1e-2)
        rivals["ours, W4A4, packed"] = one
    held = {"bfloat16 product": 2 * outputs * features, "ours, W4A4": sets[0][2].nbytes}
    held["ours, W4A4, packed"] = counted.linear_weights(outputs, features, weight_bits=4)
    facts = {"shape": [rows, features, outputs], "dtype": "bfloat16", "weight_bytes": held}
    name = "one token" if rows == 1 else "spiking linear"
    graphs = tuple(rivals)
    with torch.no_grad():
        yield bench.row(name, sets, rivals, agree=lambda _: None, graphs=graphs, bits="W4A4", **facts)


def _training(bench: Bench, small: bool) -> Iterator[dict[str, Any]]:
    """End to end: a spiking model, its float twin, the published formulation, and both compiled where that works."""
    preset, batch, seq_len = ("spike-llama-nano", 1, 16) if small else ("spike-llama-125m", 8, 1024)
    step = partial(training_step.measure, preset, batch, seq_len, rounds=2 if small else 10, device=bench.device)
    missing: dict[str, str] = {}
    if not small:
        try:
            yield {**step(compiled=True), "on": bench.device}
            return
        except Exception as error:  # noqa: BLE001 - of a compiler; the rest can be measured without it
            missing["torch.compile"] = said(error)
    row = {**step(compiled=False), "on": bench.device}
    yield row | ({"not_measured_rivals": missing} if missing else {})


def measure(device: str, quick: bool) -> Iterator[dict[str, Any]]:
    """All rows on `device`; on a CPU, to try the code, with small tensors and without graphs."""
    small = quick or device == "cpu"
    bench = Bench(device, rounds=3 if small else 30)
    reason = str(resolve_backend("auto", device))
    kinds = (torch.float32,) if small else (torch.bfloat16, torch.float32)

    def parts() -> Iterator[Iterator[dict[str, Any]]]:
        for dtype in kinds:
            for neurons in (10_000,) if small else (2**16, 2**24):
                facts = {"shape": [4, neurons], "dtype": str(dtype).removeprefix("torch.")}
                for name, rows in (("LIF forward", cuda_neurons.forward), ("LIF backward", cuda_neurons.backward)):
                    yield part(name, partial(rows, bench, 4, neurons, dtype), device, **facts)
            for shape in ((16, 256),) if small else ((16, 4096), (2048, 4096), (16384, 4096)):
                facts = {"shape": [*shape], "dtype": str(dtype).removeprefix("torch.")}
                for name, rows in (
                    ("quantise and fire", cuda_tokens.forward),
                    ("quantise and fire, backward", cuda_tokens.backward),
                ):
                    yield part(name, partial(rows, bench, *shape, dtype), device, **facts)
        if device == "cuda":
            for neurons in (2**16, 2**24):
                yield part("LIF of SpikingJelly 0.0.0.0.14", partial(cuda_neurons.old_jelly, bench, 4, neurons), device)
        for shape in ((32, 64, 48), (1, 64, 48)) if small else ((2048, 4096, 4096), (1, 4096, 4096), (1, 4096, 11008)):
            name = "one token" if shape[0] == 1 else "spiking linear"
            yield part(name, partial(_linear, bench, *shape), device, shape=[*shape])
        yield part("training step", partial(_training, bench, small), device)

    for rows in parts():
        for row in rows:
            yield {**row, "backend": reason}


def run(quick: bool) -> Iterator[dict[str, Any]]:
    """Every row of a GPU, or for each operation a row that says it was not measured."""
    if torch.cuda.is_available():
        yield from measure("cuda", quick)
        return
    reason = "no CUDA device here" if torch.version.cuda else "this torch is built without CUDA"
    for operation in OPERATIONS:
        yield not_measured(operation, reason)
