"""From what was counted of spikes to the facts of a row, and what they cost."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from darkit_nb.nn.gif import GIF
from darkit_nb.nn.linear import SpikingLinear
from darkit_nb.nn.neuron import TemporalNeuron
from darkit_nb.records.activity import LayerActivity
from darkit_nb.records.energy import EnergyConstants
from darkit_nb.records.trace_node import SpikeFacts
from darkit_nb.spikify.attention import KEYS
from darkit_nb.trace.costs import FLOAT_BITS, addition_pj, float_mac

_SAME = (
    "num_levels",
    "num_steps",
    "coding",
    "signed",
    "weight_bits",
    "salient_fraction",
    "slots",
    "active_slots",
    "silent",
    "unary_events",
    "dense_macs",
    "effective_macs",
    "ac_unary",
    "ac_bitwise",
    "histogram",
    "histogram_start",
    "histogram_width",
)


def counted_facts(layer: LayerActivity) -> SpikeFacts:
    """The facts of a layer whose spikes were counted."""
    same: dict[str, Any] = {name: getattr(layer, name) for name in _SAME}
    return SpikeFacts(**same, pairs=layer.tokens * layer.in_features)


def stated_facts(module: GIF) -> SpikeFacts:
    """What a spiking module says of itself, where nothing could be counted."""
    spec = module.spec
    return SpikeFacts(
        num_levels=spec.num_levels,
        num_steps=spec.num_steps if module.mask is not None else 1,
        coding=spec.coding,
        signed=spec.signed,
        weight_bits=spec.weight_bits if isinstance(module, SpikingLinear) else None,
    )


def add_spikes(before: SpikeFacts | None, neuron: TemporalNeuron, spikes: Tensor) -> SpikeFacts:
    """The facts of a temporal neuron after another call that sent `spikes` `[S, *N]`, whole numbers."""
    top = neuron.max_count or 1
    shape: dict[str, Any] = {
        "num_levels": top + 1,
        "num_steps": spikes.shape[0] if spikes.dim() else 1,
        "coding": "rate",
    }
    if spikes.is_meta or not spikes.numel():
        return before or SpikeFacts(**shape)
    counts = spikes.detach().reshape(spikes.shape[0], -1).to(torch.int64)
    each = counts.sum(0)
    occurred = torch.bincount(each, minlength=top * counts.shape[0] + 1)
    if before is not None and len(before.histogram) == len(occurred):
        occurred = occurred + torch.tensor(before.histogram, device=occurred.device)
    earlier = before or SpikeFacts(**shape)
    return SpikeFacts(
        **shape,
        slots=earlier.slots + counts.numel(),
        active_slots=earlier.active_slots + int((counts != 0).sum()),
        pairs=earlier.pairs + each.numel(),
        silent=earlier.silent + int((each == 0).sum()),
        unary_events=earlier.unary_events + int(each.sum()),
        histogram=tuple(occurred.tolist()),
    )


def own_energy(module: nn.Module, own_macs: int, layer: LayerActivity | None) -> float | None:
    """Arithmetic of a module itself in picojoule; None where its spikes were not counted.

    Additions of unit spikes for what spikes, as the energy report's `unary` reading of the layers counts them; float16
    products for the rest. Attention with spiking keys and values has no energy of its own: its products are theirs.
    """
    constants = EnergyConstants()
    if layer is not None:
        return layer.ac_unary * addition_pj(layer, constants)
    if isinstance(module, GIF) and own_macs:
        return None
    if hasattr(module, KEYS):
        return 0.0
    return own_macs * float_mac(constants, FLOAT_BITS)
