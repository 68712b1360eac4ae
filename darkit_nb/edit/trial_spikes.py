"""Spikes of a module on trial: whole numbers between 0 and what its neurons can fire."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from darkit_nb.functional.spike_code import SpikeCode
from darkit_nb.nn.gif import GIF
from darkit_nb.nn.neuron import TemporalNeuron
from darkit_nb.records.patch import PatchProblem
from darkit_nb.trace.kinds import kind_of
from darkit_nb.trace.values import tensors_in


@dataclass(frozen=True)
class Fired:
    """What a neuron sent.

    Attributes:
        lowest, highest: counts.
        whole: all of them are whole numbers.
        cap: the most it can send; None where the neuron does not say.
        over: a feature sent more than it can.
    """

    lowest: float
    highest: float
    whole: bool
    cap: int | None
    over: bool = False


@contextmanager
def watching_spikes(module: nn.Module) -> Iterator[dict[str, Fired]]:
    """A record of every neuron in `module` that fires in the block, by dotted path; the last call of each."""
    fired: dict[str, Fired] = {}
    handles: list[Any] = []
    heard: list[tuple[GIF, Any]] = []
    try:
        for path, each in module.named_modules():
            if isinstance(each, GIF):
                heard.append((each, each.spike_listener))
                each.spike_listener = _listener(fired, path)
            elif isinstance(each, TemporalNeuron) or kind_of(each) == "neuron":
                handles.append(each.register_forward_hook(_hook(fired, path)))
        yield fired
    finally:
        for handle in handles:
            handle.remove()
        for each, listener in heard:
            each.spike_listener = listener


def spike_problem(before: Mapping[str, Fired], after: Mapping[str, Fired], line: int | None) -> PatchProblem | None:
    """What is no spike, or more than a neuron can fire. A neuron of another library is held to what it sent before."""
    for path, now in after.items():
        was = before.get(path)
        cap = now.cap
        if cap is None:
            if was is None or not (was.whole and was.lowest >= 0 and was.highest <= 1):
                continue
            cap = 1
        lowest = -cap if was is not None and was.lowest < 0 and was.cap is not None else 0
        if now.whole and lowest <= now.lowest and now.highest <= cap and not now.over:
            continue
        return PatchProblem(
            check="spikes",
            message=f"{path or 'The module'} sends what is no spike count of its neuron.",
            line=line,
            expected=f"whole numbers from {lowest} to {cap}",
            received=f"{'whole' if now.whole else 'broken'} numbers from {now.lowest:g} to {now.highest:g}",
            cause="the counts are changed after the neuron fired, or the neuron is set to another cap",
            fix="scale the input of the neuron or its weights, not its spikes",
        )
    return None


def _listener(fired: dict[str, Fired], path: str) -> Callable[[GIF, SpikeCode], None]:
    def hear(module: GIF, code: SpikeCode) -> None:
        counts = code.counts
        over = bool((counts.to(torch.int64).abs() > code.cap_per_feature).any())
        fired[path] = Fired(int(counts.min()), int(counts.max()), not counts.is_floating_point(), code.cap, over)

    return hear


def _hook(fired: dict[str, Fired], path: str) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        spikes = next((tensor for _, tensor in tensors_in(output)), None)
        if spikes is not None and spikes.numel():
            cap = (module.max_count or 1) if isinstance(module, TemporalNeuron) else None
            fired[path] = _seen(spikes.detach(), cap)

    return hook


def _seen(spikes: Tensor, cap: int | None) -> Fired:
    values = spikes.float()
    return Fired(float(values.min()), float(values.max()), bool((values == values.round()).all()), cap)
