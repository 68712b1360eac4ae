"""Twelve blocks of a linear layer and a neuron, run once a spike step, as people write them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

BLOCKS = 12


class Blocks(nn.Module):
    """Layers and neurons; a subclass says how they run."""

    def __init__(self, steps: int, neuron: Callable[[], nn.Module] | None = None) -> None:
        super().__init__()
        self.steps = steps
        self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(BLOCKS)])
        if neuron is not None:
            self.neurons = nn.ModuleList([neuron() for _ in range(BLOCKS)])


class StepBlocks(Blocks):
    """Neurons that keep their membrane themselves, as SpikingJelly's in step mode "s"."""

    def forward(self, x: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        for _ in range(self.steps):
            hidden = x
            for layer, neuron in zip(self.layers, self.neurons, strict=True):
                hidden = neuron(layer(hidden))
            total = total + hidden
        return total / self.steps


class StateBlocks(Blocks):
    """Neurons that are given their membrane and hand it back, as snnTorch's."""

    def forward(self, x: Tensor) -> Tensor:
        membranes = [torch.zeros_like(x) for _ in self.neurons]
        sent = []
        for _ in range(self.steps):
            hidden = x
            for place, (layer, neuron) in enumerate(zip(self.layers, self.neurons, strict=True)):
                hidden, membranes[place] = neuron(layer(hidden), membranes[place])
            sent.append(hidden)
        return torch.stack(sent).mean(0)


class WrittenBlocks(Blocks):
    """Neurons written out, operator by operator."""

    def forward(self, x: Tensor) -> Tensor:
        membranes = [torch.zeros_like(x) for _ in self.layers]
        total = torch.zeros_like(x)
        for _ in range(self.steps):
            hidden = x
            for place, layer in enumerate(self.layers):
                membranes[place] = 0.5 * membranes[place] + layer(hidden)
                hidden = (membranes[place] >= 1.0).to(x.dtype)
                membranes[place] = membranes[place] - hidden
            total = total + hidden
        return total / self.steps
