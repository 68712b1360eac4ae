"""Runs a module alone, the same way each time: from rest, from a fixed seed, on copies of what it was called with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from darkit_nb.edit.recording import RecordedCall, mapped, reset_neurons
from darkit_nb.edit.trial_spikes import Fired, watching_spikes
from darkit_nb.edit.trial_state import seed

SEED, OTHER_SEED = 1, 2


@dataclass
class Inputs:
    """Copies given to one run.

    Attributes:
        tensors: each with the version it had.
        leaves: those a gradient is asked of, one a call.
    """

    tensors: list[tuple[Tensor, int]] = field(default_factory=list)
    leaves: list[Tensor] = field(default_factory=list)

    def written(self) -> set[int]:
        """Places of the tensors that were written into."""
        return {place for place, (tensor, version) in enumerate(self.tensors) if tensor._version != version}


@dataclass(frozen=True)
class Run:
    """What came of it."""

    outputs: list[Any]
    fired: dict[str, Fired]
    inputs: Inputs


class Runner:
    """Calls a module as it was called in its model.

    Args:
        calls: what it was called with.

    Attributes:
        inputs: of the run that goes on.
    """

    def __init__(self, calls: Sequence[RecordedCall]) -> None:
        self._calls = calls
        self.inputs = Inputs()

    def run(self, module: nn.Module, *, training: bool = False, gradient: bool = False, number: int = SEED) -> Run:
        """One run over all calls.

        Args:
            module: what runs.
            training: mode.
            gradient: of the parameters, and of the first tensor of numbers in each call.
            number: seed.
        """
        module.train(training)
        reset_neurons(module)
        seed(number)
        self.inputs = Inputs()
        outputs = []
        with torch.set_grad_enabled(gradient), watching_spikes(module) as fired:
            for call in self._calls:
                args, kwargs = self._copy(call, gradient)
                outputs.append(module(*args, **kwargs))
        return Run(outputs, fired, self.inputs)

    def _copy(self, call: RecordedCall, gradient: bool) -> tuple[tuple[Any, ...], dict[str, Any]]:
        wanted = gradient

        def copy(tensor: Tensor) -> Tensor:
            nonlocal wanted
            again = tensor.clone()
            if wanted and tensor.is_floating_point():
                wanted = False
                self.inputs.leaves.append(again.requires_grad_())
                again = again.clone()  # what a module gets is no leaf: it may be written into
            self.inputs.tensors.append((again, again._version))
            return again

        return mapped(call.args, copy), mapped(dict(call.kwargs), copy)
