"""The neurons this package ships, registered through the door third parties use."""

from __future__ import annotations

from darkit_nb.plugins import Entry, Registry


def register_neurons(registry: Registry) -> None:
    """Entry point of group `darkit_nb.neuron`."""
    for name, description, builder in (
        (
            "gif",
            "Generalised integrate-and-fire: multi-level spikes per token, salient features get more steps.",
            "gif:GIF",
        ),
        ("if", "Integrate-and-fire over S steps, without leak.", "neuron:IF"),
        ("lif", "Leaky integrate-and-fire over S steps, soft or hard reset.", "neuron:LIF"),
        ("plif", "Leaky integrate-and-fire that learns its decay and threshold.", "neuron:PLIF"),
        ("integer-lif", "Leaky integrate-and-fire with integer spikes in training.", "neuron:IntegerLIF"),
    ):
        registry.add(Entry(name, description, f"darkit_nb.nn.{builder}"))
