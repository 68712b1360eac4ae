"""What a training step may have changed before its weights change, so that it can be done again from its beginning."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from darkit_nb.trace.untouched import ModuleState


class RandomState:
    """The state of every random generator a training draws from."""

    def __init__(self) -> None:
        self._python, self._numpy, self._cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []

    def restore(self) -> None:
        """Draw from here on what would have been drawn."""
        random.setstate(self._python)
        np.random.set_state(self._numpy)
        torch.set_rng_state(self._cpu)
        if self._cuda:
            torch.cuda.set_rng_state_all(self._cuda)


class StepState:
    """Buffers, membranes and counters of a model, random generators, and the loss that was added up, at a boundary.

    Args:
        model: the model.
        added_loss: where the trainer adds up losses.
    """

    def __init__(self, model: nn.Module, added_loss: Tensor) -> None:
        self._model, self._added, self._loss = model, added_loss, added_loss.clone()
        self._modules = [ModuleState.of(module) for module in model.modules()]
        self._versions: list[tuple[Any, int]] = [(each, each._version) for each in model.parameters()]
        self._random = RandomState()

    def restore(self) -> bool:
        """Put everything back and drop gradients; whether the weights are untouched, which nothing could put back."""
        for state in self._modules:
            state.restore()
        self._random.restore()
        self._added.copy_(self._loss)
        self._model.zero_grad(set_to_none=True)
        return all(each._version == version for each, version in self._versions)
