"""Kernels on a GPU, in fractions of the measured copy bandwidth, against every rival that is there.

Working sets rotate through four times the second-level cache. Kernels are timed call by call and as CUDA graphs.
SpikingJelly 2.0.0 (Triton) is timed where this interpreter has it; 0.0.0.0.14 (CuPy) in the interpreter that
DARKIT_SPIKINGJELLY_14 names. Everything in one line:

    darkit-nb bench --device cuda
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from darkit_nb.functional import gif as gif_law
from darkit_nb.functional import neuron as neuron_law
from darkit_nb.functional.spike_linear import spike_product as product_law
from darkit_nb.functional.weight import weight_encode
from darkit_nb.ops._cupy import CupyLauncher
from darkit_nb.ops._gif_blocked import GifLaw
from darkit_nb.ops._packed_kernel import matvec, pack_weight
from darkit_nb.ops.backend import resolve_backend
from darkit_nb.ops.gif import encode_rows, gif_encode, gif_quantise
from darkit_nb.ops.neuron_scan import neuron_scan
from darkit_nb.ops.spike_product import prepare_products

from . import counted_bytes as counted
from . import training_step
from .cuda_harness import Bench, leaf, old_spikingjelly
from .harness import not_measured
from .rivals import published_spikes

DEVICE = "cuda"
OPERATIONS = (
    "LIF forward",
    "LIF forward and backward",
    "quantise and fire",
    "quantise and fire, forward and backward through the range",
    "spiking linear",
    "one token",
    "training step",
)


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function)


def _lif(x: Tensor) -> Tensor:
    # The definition iterates with unbind: indexing would make its backward quadratic in steps.
    return neuron_law.neuron_scan(x, decay=0.5)[0]


def _spikingjelly(device: str) -> Callable[[Tensor], Tensor] | None:
    """The same LIF of SpikingJelly 2.0, on Triton where it offers that; None where it is not installed."""
    if find_spec("spikingjelly") is None:
        return None
    neuron, surrogate = (import_module(f"spikingjelly.activation_based.{name}") for name in ("neuron", "surrogate"))
    lif = neuron.LIFNode(2.0, False, 1.0, None, surrogate.ATan(2.0), step_mode="m")
    if device == "cuda" and "triton" in lif.supported_backends:
        lif.backend = "triton"

    def run(x: Tensor) -> Tensor:
        lif.reset()
        return lif(x)

    return run


def _agree(results: Mapping[str, Any], *, expected: str, exact: bool) -> None:
    """Every rival but the copy gives what the definition gives; spikes exactly."""
    wanted = results[expected].float()
    for name, found in results.items():
        if name == "copy" or name.startswith("published"):
            continue
        tolerance = 0.0 if exact else 2e-2
        torch.testing.assert_close(found.float(), wanted, rtol=tolerance, atol=tolerance, msg=name)


def _neurons(bench: Bench, steps: int, neurons: int, dtype: torch.dtype) -> Iterator[dict[str, Any]]:
    size = dtype.itemsize
    bytes_ = steps * neurons * size

    def make(index: int) -> tuple[Tensor, Tensor, Tensor]:
        random = torch.Generator(bench.device).manual_seed(index)
        x, grad = (torch.randn(steps, neurons, generator=random, device=bench.device, dtype=dtype) for _ in range(2))
        return x, torch.empty_like(x), grad

    sets = bench.sets(make, 2 * bytes_)
    hands: dict[str, Callable[[Tensor], Tensor]] = {
        "ours": lambda x: neuron_scan(x, decay=0.5)[0],
        "eager, unbind": _lif,
    }
    if bench.on_gpu:
        hands["torch.compile"] = _compiled(_lif)
    jelly = _spikingjelly(bench.device)
    if jelly is not None:
        hands["SpikingJelly 2.0"] = jelly
    facts = {"shape": [steps, neurons], "dtype": str(dtype).removeprefix("torch.")}
    copy = {"copy": lambda each: each[1].copy_(each[0])}
    limits = {"copied": counted.copy(steps * neurons, size)}
    with torch.no_grad():
        rivals = {
            **copy,
            "ours": lambda each: neuron_scan(each[0], decay=0.5)[0],
            "ours to uint8": lambda each: neuron_scan(each[0], decay=0.5, spike_dtype=torch.uint8)[0],
            **{name: lambda each, hand=hand: hand(each[0]) for name, hand in hands.items() if name != "ours"},
        }
        forward = partial(counted.neuron_forward, steps, neurons, size)
        bits = {name: 8 if name == "ours to uint8" else 8 * size for name in rivals if name != "copy"}
        least = {name: forward(spike_bits=each) for name, each in bits.items()}
        same = partial(_agree, expected="eager, unbind", exact=True)
        graphs = ("ours", "ours to uint8")
        yield bench.row("LIF forward", sets, rivals, agree=same, graphs=graphs, counted=least, **limits, **facts)

    def both(hand: Callable[[Tensor], Tensor], each: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        end = leaf(each[0])
        return torch.autograd.grad(hand(end), end, each[2])[0]

    rivals = {**copy, **{name: partial(both, hand) for name, hand in hands.items()}}
    least = {"ours": forward(spike_bits=8 * size) + counted.neuron_backward(steps, neurons, size)}
    same = partial(_agree, expected="eager, unbind", exact=False)
    row = partial(bench.row, sets=sets, rivals=rivals, agree=same, counted=least, **limits, **facts)
    yield row("LIF forward and backward")
    if bench.on_gpu:
        found = old_spikingjelly(steps, neurons, bench.rounds)
        if isinstance(found, str):
            yield not_measured("LIF of SpikingJelly 0.0.0.0.14", found, on=bench.device, **facts)
        else:
            yield {"operation": "LIF of SpikingJelly 0.0.0.0.14", "on": bench.device, **facts, **found}


def _tokens(bench: Bench, rows: int, features: int, dtype: torch.dtype) -> Iterator[dict[str, Any]]:
    size = dtype.itemsize

    def make(index: int) -> tuple[Tensor, Tensor, Tensor]:
        random = torch.Generator(bench.device).manual_seed(index)
        x, grad = (torch.randn(rows, features, generator=random, device=bench.device).to(dtype) for _ in range(2))
        return x, torch.empty_like(x), grad

    sets = bench.sets(make, 2 * rows * features * size)
    facts = {"shape": [rows, features], "dtype": str(dtype).removeprefix("torch.")}
    mask = torch.rand(features, generator=torch.Generator().manual_seed(0)).lt(0.1).to(bench.device)
    copied = counted.copy(rows * features, size)
    copy = {"copy": lambda each: each[1].copy_(each[0])}

    def definition(x: Tensor, salient: Tensor | None, steps: int) -> Tensor:
        return gif_law.gif_encode(x, num_levels=16, num_steps=steps, salient=salient).counts

    for steps, salient in ((1, None), (2, mask)):
        groups = 1 if salient is None else 2
        settings: dict[str, Any] = {"num_levels": 16, "num_steps": steps, "salient": salient}
        rivals = {
            **copy,
            "ours": lambda each, settings=settings: encode_rows(each[0], mask=False, **settings)[0],
            "definition, eager": lambda each, s=salient, t=steps: definition(each[0], s, t),
            "published, two quantisers": lambda each: published_spikes(each[0], 16, 2, mask),
        }
        if bench.on_gpu:
            rivals["torch.compile"] = lambda each, s=salient, t=steps: _compiled(definition)(each[0], s, t)
        least = {"ours": counted.quantise_forward(rows, features, size, count_bits=8, groups=groups)}
        same = partial(_agree, expected="definition, eager", exact=True)
        with torch.no_grad():
            yield bench.row(
                "quantise and fire", sets, rivals, agree=same, graphs=("ours",), counted=least, copied=copied,
                steps=steps, **facts,
            )  # fmt: skip

    def both(quantise: Callable[..., Tensor], each: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        end = leaf(each[0])
        values = quantise(end, num_levels=16, num_steps=2, salient=mask, gradient="range")
        return torch.autograd.grad(values, end, each[2])[0]

    rivals = {**copy, "ours": partial(both, gif_quantise), "definition, eager": partial(both, gif_law.gif_quantise)}
    backward = counted.quantise_backward_range(rows, features, size, groups=2)
    least = {"ours": counted.quantise_forward(rows, features, size, count_bits=8 * size, groups=2) + backward}
    same = partial(_agree, expected="definition, eager", exact=False)
    yield bench.row(OPERATIONS[3], sets, rivals, agree=same, counted=least, copied=copied, steps=2, **facts)


def _linear(bench: Bench, rows: int, features: int, outputs: int) -> Iterator[dict[str, Any]]:
    """An integer product with 4-bit weights against bfloat16: whole batches, or one token, whose bytes decide."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(rows, features, generator=random).to(bench.device)
    law, spikes = GifLaw(num_levels=16, num_steps=1, coding="rate", ranges="shared", signed=False), {"num_levels": 16}

    def make(index: int) -> tuple[Tensor, Tensor, Any, Any, Any]:
        weight = torch.randn(outputs, features, generator=torch.Generator().manual_seed(index)).to(bench.device)
        codes = weight_encode(weight, 4)
        packed = pack_weight(codes, None) if bench.on_gpu and rows == 1 else None
        return x.bfloat16(), weight.bfloat16(), prepare_products(codes, None, law), codes, packed

    sets = bench.sets(make, outputs * features // 2)
    expected = product_law(gif_encode(sets[0][0], **spikes), sets[0][3])
    torch.testing.assert_close(sets[0][2].linear(sets[0][0], torch.float32), expected, rtol=1e-5, atol=1e-4)
    rivals = {
        "bfloat16 product": lambda each: linear(each[0], each[1]),
        "ours, W4A4": lambda each: each[2].linear(each[0], torch.bfloat16),
    }
    if sets[0][4] is not None:
        one = lambda each: matvec(gif_encode(each[0], **spikes), each[4], None, CupyLauncher(), torch.bfloat16)  # noqa: E731
        torch.testing.assert_close(one(sets[0]).float(), expected, rtol=1e-2, atol=1e-2)
        rivals["ours, W4A4, packed"] = one
    held = {"bfloat16 product": 2 * outputs * features, "ours, W4A4": sets[0][2].nbytes}
    held["ours, W4A4, packed"] = counted.linear_weights(outputs, features, weight_bits=4)
    facts = {"shape": [rows, features, outputs], "dtype": "bfloat16", "weight_bytes": held}
    name = "one token" if rows == 1 else "spiking linear"
    graphs = tuple(rivals)
    with torch.no_grad():
        yield bench.row(name, sets, rivals, agree=lambda _: None, graphs=graphs, bits="W4A4", **facts)


def measure(device: str, quick: bool) -> Iterator[dict[str, Any]]:
    """All rows on `device`; on a CPU, to try the code, with small tensors and without graphs."""
    small = quick or device == "cpu"
    bench = Bench(device, rounds=3 if small else 30)
    reason = str(resolve_backend("auto", device))
    kinds = (torch.float32,) if small else (torch.bfloat16, torch.float32)

    def rows() -> Iterator[dict[str, Any]]:
        for dtype in kinds:
            for neurons in (10_000,) if small else (2**16, 2**24):
                yield from _neurons(bench, 4, neurons, dtype)
            for shape in ((16, 256),) if small else ((16, 4096), (2048, 4096), (16384, 4096)):
                yield from _tokens(bench, *shape, dtype)
        for shape in ((32, 64, 48), (1, 64, 48)) if small else ((2048, 4096, 4096), (1, 4096, 4096), (1, 4096, 11008)):
            yield from _linear(bench, *shape)
        preset, batch, seq_len = ("spike-llama-nano", 1, 16) if small else ("spike-llama-125m", 8, 1024)
        rounds, compiled = (2, False) if small else (10, True)
        step = training_step.measure(preset, batch, seq_len, rounds=rounds, compiled=compiled, device=device)
        yield {**step, "on": device}

    for row in rows():
        yield {**row, "backend": reason}


def run(quick: bool) -> Iterator[dict[str, Any]]:
    """Every row of a GPU, or for each operation a row that says it was not measured."""
    if torch.cuda.is_available():
        yield from measure("cuda", quick)
        return
    reason = "no CUDA device here" if torch.version.cuda else "this torch is built without CUDA"
    for operation in OPERATIONS:
        yield not_measured(operation, reason)
