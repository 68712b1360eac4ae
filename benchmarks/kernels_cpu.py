"""The CPU library in units of one `copy_` of the tensor, against every other way to compute the same.

Rivals run interleaved in one process after they were checked against the definition: the C++ library, cache blocks, the
plain definition, the definition under torch.compile, and, where the interpreter has it, SpikingJelly (2.0.0 in an
environment of its own: it is no dependency). The two published quantisers are written from their formulas.

Two threads where the machine has two: OMP_NUM_THREADS=2 python -m benchmarks kernels_cpu
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from darkit_nb.functional import gif as gif_law
from darkit_nb.functional import neuron as neuron_law
from darkit_nb.functional.spike_linear import spike_product as product_law
from darkit_nb.functional.weight import weight_encode
from darkit_nb.ops.gif import encode_rows, gif_encode, gif_quantise
from darkit_nb.ops.native_build import probe_native
from darkit_nb.ops.neuron_scan import neuron_scan
from darkit_nb.ops.spike_product import spike_product

from .harness import compare

Rivals = dict[str, Callable[[], Any]]


def _agree(results: Mapping[str, Any], *, exact: bool) -> None:
    """Every rival but the copy gives what the definition gives."""
    expected = results["reference"]
    for name, found in results.items():
        if name not in ("copy", "fp32 product") and not name.startswith("published"):
            kept = expected if found.dtype == expected.dtype else expected.to(found.dtype)
            torch.testing.assert_close(found, kept, rtol=0 if exact else 1e-4, atol=0 if exact else 1e-4, msg=name)


def _row(operation: str, rivals: Rivals, rounds: int, *, exact: bool = True, **facts: Any) -> dict[str, Any]:
    measured = compare(rivals, agree=lambda results: _agree(results, exact=exact), rounds=rounds)
    library = probe_native().finding
    return {"operation": operation, **facts, "library": library, "threads": torch.get_num_threads(), **measured}


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function)


def _lif(x: Tensor) -> Tensor:
    return neuron_law.neuron_scan(x, decay=0.5)[0]


def _spikingjelly() -> Callable[[Tensor], Tensor] | None:
    """The same LIF of SpikingJelly, multi-step, on the backend it has for the CPU; None where it is not installed."""
    if find_spec("spikingjelly") is None:
        return None
    neuron, surrogate = (import_module(f"spikingjelly.activation_based.{name}") for name in ("neuron", "surrogate"))
    # v = v·(1 − 1/τ) + x with τ = 2 and no input decay is a decay of one half; soft reset is v_reset=None.
    lif = neuron.LIFNode(2.0, False, 1.0, None, surrogate.ATan(2.0), step_mode="m")

    def run(x: Tensor) -> Tensor:
        lif.reset()
        return lif(x)

    return run


def _neurons(steps: int, neurons: int, rounds: int, compile_too: bool) -> Iterator[dict[str, Any]]:
    x = torch.randn(steps, neurons, generator=torch.Generator().manual_seed(0))
    out, grad = torch.empty_like(x), torch.randn(steps, neurons)
    hands: dict[str, Callable[[Tensor], Tensor]] = {
        "native": lambda x: neuron_scan(x, decay=0.5, backend="native")[0],
        "blocked": lambda x: neuron_scan(x, decay=0.5, backend="blocked")[0],
        "reference": _lif,
    }
    if compile_too:
        hands["torch.compile"] = _compiled(_lif)
    jelly = _spikingjelly()
    if jelly is not None:
        hands["SpikingJelly"] = jelly
    copy: Rivals = {"copy": lambda: out.copy_(x)}

    def both(hand: Callable[[Tensor], Tensor]) -> Tensor:
        leaf = x.detach().requires_grad_()
        (found,) = torch.autograd.grad(hand(leaf), leaf, grad)
        return found

    facts = {"steps": steps, "neurons": neurons, "dtype": "float32"}
    with torch.no_grad():
        forward: Rivals = {name: lambda hand=hand: hand(x) for name, hand in hands.items()}
        yield _row("LIF forward", {**copy, **forward}, rounds, **facts)
        bytes_: Rivals = {
            "native": lambda: neuron_scan(x, decay=0.5, spike_dtype=torch.uint8, backend="native")[0],
            "blocked": lambda: neuron_scan(x, decay=0.5, spike_dtype=torch.uint8, backend="blocked")[0],
            "reference": lambda: neuron_law.neuron_scan(x, decay=0.5, spike_dtype=torch.uint8)[0],
        }
        yield _row("LIF forward to uint8", {**copy, **bytes_}, rounds, **facts)
        bits: Rivals = {
            "native": lambda: neuron_scan(x, decay=0.5, packed=True, backend="native")[0],
            "reference": lambda: neuron_law.neuron_scan(x, decay=0.5, packed=True)[0],
        }
        yield _row("LIF forward to bits", {**copy, **bits}, rounds, **facts)
    backward: Rivals = {name: lambda hand=hand: both(hand) for name, hand in hands.items()}
    yield _row("LIF forward and backward", {**copy, **backward}, rounds, exact=False, **facts)


def _published(x: Tensor, levels: int, mask: Tensor | None, steps: int) -> Tensor:
    """The published eager fake quantiser: one for the usual features, a second one for the salient."""

    def one(top: int) -> Tensor:
        low, high = x.amin(-1, keepdim=True), x.amax(-1, keepdim=True)
        scale = ((high - low) / top).clamp(min=1e-5, max=1e4)
        zero = (-low / scale).clamp(min=-1e4, max=1e4).round()
        rounded = (x / scale).round()
        codes = ((rounded - x / scale).detach() + x / scale + zero).clamp(0, top)
        return (codes - zero) * scale

    if mask is None:
        return one(levels - 1)
    return one(levels - 1) * ~mask + one(steps * levels - 1) * mask


def _tokens(rows: int, features: int, rounds: int, compile_too: bool) -> Iterator[dict[str, Any]]:
    random = torch.Generator().manual_seed(0)
    x, grad = (torch.randn(rows, features, generator=random) for _ in range(2))
    out, mask = torch.empty_like(x), torch.rand(features, generator=random) < 0.1
    facts = {"rows": rows, "features": features, "dtype": "float32"}

    def definition(x: Tensor) -> Tensor:
        return gif_law.gif_encode(x, num_levels=16).counts

    with torch.no_grad():
        for name, law in (("S=1", {}), ("S=2, 10 % salient", {"num_steps": 2, "salient": mask})):
            rivals: Rivals = {
                "copy": lambda: out.copy_(x),
                "native": lambda law=law: gif_encode(x, num_levels=16, backend="native", **law).counts,
                "blocked": lambda law=law: gif_encode(x, num_levels=16, backend="blocked", **law).counts,
                "reference": lambda law=law: gif_law.gif_encode(x, num_levels=16, **law).counts,
                "published, one quantiser": lambda: _published(x, 16, None, 1),
                "published, two quantisers": lambda: _published(x, 16, mask, 2),
            }
            if compile_too and not law:
                rivals["torch.compile"] = lambda: _compiled(definition)(x)
            yield _row(f"quantise and fire, {name}", rivals, rounds, **facts)

        halves: Rivals = {
            "copy": lambda: out.copy_(x),
            "native": lambda: encode_rows(x, num_levels=16, packed=True, backend="native")[0],
            "reference": lambda: gif_law.pack_counts(gif_law.gif_encode(x, num_levels=16)),
        }
        yield _row("quantise and fire to packed 4 bits, S=1", halves, rounds, **facts)

    def both(quantise: Callable[..., Tensor], **more: Any) -> Tensor:
        leaf = x.detach().requires_grad_()
        values = quantise(leaf, num_levels=16, num_steps=2, salient=mask, gradient="range", **more)
        return torch.autograd.grad(values, leaf, grad)[0]

    rivals = {
        "copy": lambda: out.copy_(x),
        "native": lambda: both(gif_quantise, backend="native"),
        "blocked": lambda: both(gif_quantise, backend="blocked"),
        "reference": lambda: both(gif_law.gif_quantise),
    }
    yield _row("quantise, forward and backward through the range", rivals, rounds, exact=False, **facts)


def _linear(rows: int, features: int, outputs: int, rounds: int) -> Iterator[dict[str, Any]]:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(rows, features, generator=random)
    weight, mask = torch.randn(outputs, features, generator=random), torch.rand(features, generator=random) < 0.1
    codes = weight_encode(weight, 4)
    facts = {"rows": rows, "features": features, "outputs": outputs, "bits": "W4A4"}
    for name, law in (("S=1", {}), ("S=2, 10 % salient", {"num_steps": 2, "salient": mask})):
        spikes = gif_encode(x, num_levels=16, **law)
        rivals: Rivals = {
            "fp32 product": lambda: torch.nn.functional.linear(x, weight),
            "encode and integer product": lambda law=law: spike_product(gif_encode(x, num_levels=16, **law), codes),
            "integer product": lambda spikes=spikes: spike_product(spikes, codes),
        }
        expected = product_law(spikes, codes)  # far too slow to be run in every round
        agree = {**rivals, "reference": lambda expected=expected: expected}
        _agree({rival: run() for rival, run in agree.items()}, exact=True)
        measured = compare(rivals, agree=lambda _: None, rounds=rounds)
        yield {"operation": f"spiking linear, {name}", **facts, "threads": torch.get_num_threads(), **measured}


def run(quick: bool) -> Iterator[dict[str, Any]]:
    """One row per operation and shape; `quick` compiles nothing."""
    rounds = 3 if quick else 25
    for neurons in (60_000,) if quick else (10_000, 100_000, 1_000_000, 10_000_000):
        yield from _neurons(4, neurons, rounds, not quick)
    for shape in ((256, 512),) if quick else ((1, 4096), (2048, 4096)):
        yield from _tokens(*shape, rounds, not quick)
    yield from _linear(*((32, 256, 256) if quick else (256, 2048, 2048)), rounds)
