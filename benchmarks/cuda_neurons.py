"""Temporal neurons on a GPU: forward, backward, both, against eager, compiled and SpikingJelly's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from darkit_nb.functional import neuron as neuron_law
from darkit_nb.ops.neuron_scan import neuron_scan

from . import counted_bytes as counted
from .cuda_harness import (
    Bench,
    agreeing,
    backward_of,
    compiled,
    copy_of,
    gradient_of,
    old_spikingjelly,
    random_sets,
)
from .harness import not_measured


def _lif(x: Tensor) -> Tensor:
    # The definition iterates with unbind: indexing would make its backward quadratic in steps.
    return neuron_law.neuron_scan(x, decay=0.5)[0]


def _spikingjelly(device: str) -> Callable[[Tensor], Tensor] | None:
    """The same LIF of SpikingJelly 2.0, which chooses its kernels itself; None where it is not installed."""
    if find_spec("spikingjelly") is None:
        return None
    made: list[Any] = []

    def run(x: Tensor) -> Tensor:
        if not made:
            parts = (import_module(f"spikingjelly.activation_based.{name}") for name in ("neuron", "surrogate"))
            neuron, surrogate = parts
            made.append(neuron.LIFNode(2.0, False, 1.0, None, surrogate.ATan(2.0), step_mode="m"))
            if device == "cuda" and "triton" in getattr(made[0], "supported_backends", ()):  # before 2.0.0
                made[0].backend = "triton"
        made[0].reset()
        return made[0](x)

    return run


def _hands(bench: Bench) -> dict[str, Callable[[Tensor], Tensor]]:
    hands: dict[str, Callable[[Tensor], Tensor]] = {
        "ours": lambda x: neuron_scan(x, decay=0.5)[0],
        "eager, unbind": _lif,
    }
    if bench.on_gpu:
        hands["torch.compile"] = compiled(_lif)
    jelly = _spikingjelly(bench.device)
    return hands if jelly is None else {**hands, "SpikingJelly 2.0": jelly}


def forward(bench: Bench, steps: int, neurons: int, dtype: torch.dtype) -> Iterator[dict[str, Any]]:
    """Without a gradient, spikes in the dtype of the input and in bytes."""
    size = dtype.itemsize
    facts = {"shape": [steps, neurons], "dtype": str(dtype).removeprefix("torch.")}
    rivals = {"copy": copy_of, "ours": lambda each: neuron_scan(each[0], decay=0.5)[0]}
    rivals["ours to uint8"] = lambda each: neuron_scan(each[0], decay=0.5, spike_dtype=torch.uint8)[0]
    rivals |= {name: lambda each, hand=hand: hand(each[0]) for name, hand in _hands(bench).items() if name != "ours"}
    bits = {name: 8 if name == "ours to uint8" else 8 * size for name in rivals if name != "copy"}
    least = {name: counted.neuron_forward(steps, neurons, size, spike_bits=each) for name, each in bits.items()}
    with torch.no_grad():
        yield bench.row(
            "LIF forward",
            random_sets(bench, (steps, neurons), dtype),
            rivals,
            agree=partial(agreeing, expected="eager, unbind", exact=True),
            graphs=("ours", "ours to uint8"),
            counted=least,
            copied=counted.copy(steps * neurons, size),
            **facts,
        )


def backward(bench: Bench, steps: int, neurons: int, dtype: torch.dtype) -> Iterator[dict[str, Any]]:
    """The gradient of the input: alone, and with the forward before it."""
    size = dtype.itemsize
    facts = {"shape": [steps, neurons], "dtype": str(dtype).removeprefix("torch.")}
    facts |= {"copied": counted.copy(steps * neurons, size)}
    sets, hands = random_sets(bench, (steps, neurons), dtype), _hands(bench)
    same = partial(agreeing, expected="eager, unbind", exact=False)
    back = counted.neuron_backward(steps, neurons, size)
    both = counted.neuron_forward(steps, neurons, size, spike_bits=8 * size) + back
    rivals = {"copy": copy_of, **{name: backward_of(hand) for name, hand in hands.items()}}
    yield bench.row("LIF backward", sets, rivals, agree=same, counted=dict.fromkeys(hands, back), **facts)
    rivals = {"copy": copy_of, **{name: partial(gradient_of, hand) for name, hand in hands.items()}}
    yield bench.row("LIF forward and backward", sets, rivals, agree=same, counted={"ours": both}, **facts)


def old_jelly(bench: Bench, steps: int, neurons: int) -> Iterator[dict[str, Any]]:
    """SpikingJelly's last release with CuPy kernels, which know float32 only, in an environment of its own."""
    name, facts = "LIF of SpikingJelly 0.0.0.0.14", {"shape": [steps, neurons], "dtype": "float32"}
    found = old_spikingjelly(steps, neurons, bench.rounds)
    if isinstance(found, str):
        yield not_measured(name, found, on=bench.device, **facts)
    else:
        yield {"operation": name, "on": bench.device, **facts, **found}
