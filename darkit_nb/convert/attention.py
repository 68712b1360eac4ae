"""Keys and values of a converted block: coded from here on, with their salient features chosen on the stream."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn

from darkit_nb.convert.prepare import Prepared, salient_first
from darkit_nb.convert.skeleton import Skeleton
from darkit_nb.convert.statistics import FeatureStatistics, watching
from darkit_nb.functional.saliency import choose_salient, saliency_score
from darkit_nb.nn.gif import GIF
from darkit_nb.records.spike_spec import Saliency, SpikeSpec
from darkit_nb.spikify.attention import ATTENTION_NAME, KEYS, VALUES, add_neurons


def route_attention(block: nn.Module, index: int, skeleton: Skeleton, spike: SpikeSpec) -> nn.Module:
    """Give the attention of a block its neurons and let its products go through them; returns the attention."""
    attention = block.get_submodule(skeleton.family.attention)
    add_neurons(attention, f"{skeleton.block_name(index)}.{skeleton.family.attention}", skeleton.config, spike)
    routed = copy.deepcopy(skeleton.config)
    routed._attn_implementation = ATTENTION_NAME
    object.__setattr__(attention, "config", routed)
    return attention


@torch.no_grad()
def spike_attention(skeleton: Skeleton, index: int, prepared: Prepared, stream: list[Tensor], spike: SpikeSpec) -> None:
    """Code keys and values of a block whose queries, keys and values are converted.

    Salient features are those with the widest range on the quantised stream; where heads are split, the first ones of
    every value head. Published scores of keys and values choose per sequence length, which a cache has not; their
    ranges serve instead.
    """
    attention = route_attention(prepared.block, index, skeleton, spike)
    neurons = {part: cast(GIF, getattr(attention, part)) for part in (KEYS, VALUES)}
    neurons[KEYS].rotation = prepared.key_rotation
    if neurons[KEYS].mask is None:
        return
    seen = {part: FeatureStatistics(neuron.salient.numel(), device=skeleton.device) for part, neuron in neurons.items()}

    def see(part: str, x: Tensor) -> None:
        seen[part].update(neurons[part].turned(x).transpose(1, 2).flatten(2))

    with watching(dict(neurons), see):
        skeleton.run(prepared.block, index, stream)
    how: Saliency = "error" if spike.saliency == "energy" else spike.saliency
    for part, neuron in neurons.items():
        seen[part].reduce()
        score = saliency_score(torch.stack([seen[part].low, seen[part].high]), None, how)
        mask = choose_salient(score, spike.salient_fraction, above_quantile=spike.coding == "paper")
        neuron.salient.copy_(mask.view_as(neuron.salient))
    if skeleton.family.output in prepared.salient and prepared.key_rotation is not None:
        values = neurons[VALUES]
        mask = salient_first(values.features[-1], spike.salient_fraction, values.features[0])
        values.salient.copy_(mask.view_as(values.salient))
