"""Temporal neurons as modules. Each holds parameters only; the membrane is passed in and handed back.

Shape of all: `x [S, *N], state [*N] | None → spikes [S, *N], state [*N]`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from darkit_nb.errors import ConfigError
from darkit_nb.functional.neuron import Reset, initial_state
from darkit_nb.ops.neuron_scan import neuron_scan
from darkit_nb.records.spike_spec import Backend


class TemporalNeuron(nn.Module):
    """What all temporal neurons share; a subclass says what its decay and threshold are.

    Args:
        reset: soft or hard.
        surrogate: name in `functional.surrogate.SURROGATES`, None for the usual one.
        alpha: its sharpness, None for the usual one.
        detach_reset: keep the gradient from flowing through the reset.
        decay_input: scale the input by 1 − β as well, so that β = 1 − 1/τ gives h = v + (x − v)/τ.
        max_count: D of an integer-firing neuron, None for a threshold neuron.
        backend: implementation, see `ops.backend.resolve_backend`.
    """

    def __init__(
        self,
        *,
        reset: Reset = "soft",
        surrogate: str | None = None,
        alpha: float | None = None,
        detach_reset: bool = False,
        decay_input: bool = False,
        max_count: int | None = None,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        self.reset: Reset = reset
        self.surrogate = surrogate
        self.alpha = alpha
        self.detach_reset = detach_reset
        self.decay_input = decay_input
        self.max_count = max_count
        self.backend: Backend = backend

    def constants(self) -> tuple[float | Tensor, float | Tensor]:
        """Decay β in [0, 1] and threshold θ > 0, numbers or tensors broadcastable to `[*N]`."""
        raise NotImplementedError

    def init_state(self, shape: torch.Size | tuple[int, ...], like: Tensor) -> Tensor:
        """A membrane at rest for neurons of this shape, `[*N]`, on the device of `like`."""
        return initial_state(shape, like=like)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Spikes of all steps of `x`, and the membrane after the last."""
        decay, threshold = self.constants()
        return neuron_scan(
            x * (1 - decay) if self.decay_input else x,
            state,
            decay=decay,
            threshold=threshold,
            reset=self.reset,
            max_count=self.max_count,
            surrogate=self.surrogate,
            alpha=self.alpha,
            detach_reset=self.detach_reset,
            backend=self.backend,
        )

    def extra_repr(self) -> str:
        """Constants and firing, for `print(model)`."""
        decay, threshold = (float(torch.as_tensor(value).detach().mean()) for value in self.constants())
        fires = f"reset={self.reset}, surrogate={self.surrogate}" if self.max_count is None else f"D={self.max_count}"
        return f"decay={decay:.3g}, threshold={threshold:.3g}, {fires}"


class LIF(TemporalNeuron):
    """Leaky integrate-and-fire neuron.

    Args:
        decay: β in [0, 1], what the membrane keeps per step.
        threshold: θ > 0, in units of the membrane.
        reset: soft or hard.
        surrogate: name in `functional.surrogate.SURROGATES`.
        alpha: its sharpness, None for the usual one.
        detach_reset: keep the gradient from flowing through the reset.
        decay_input: scale the input by 1 − β as well.
        backend: implementation.
    """

    def __init__(
        self,
        decay: float = 0.5,
        threshold: float = 1.0,
        *,
        reset: Reset = "soft",
        surrogate: str = "arctan",
        alpha: float | None = None,
        detach_reset: bool = False,
        decay_input: bool = False,
        backend: Backend = "auto",
    ) -> None:
        super().__init__(
            reset=reset,
            surrogate=surrogate,
            alpha=alpha,
            detach_reset=detach_reset,
            decay_input=decay_input,
            backend=backend,
        )
        self.decay = decay
        self.threshold = threshold

    def constants(self) -> tuple[float | Tensor, float | Tensor]:
        """The two numbers given at construction."""
        return self.decay, self.threshold


class IF(LIF):
    """Integrate-and-fire neuron: a LIF that forgets nothing.

    Args:
        threshold: θ > 0.
        reset: soft or hard.
        surrogate: name in `functional.surrogate.SURROGATES`.
        alpha: its sharpness, None for the usual one.
        detach_reset: keep the gradient from flowing through the reset.
        backend: implementation.
    """

    def __init__(
        self,
        threshold: float = 1.0,
        *,
        reset: Reset = "soft",
        surrogate: str = "arctan",
        alpha: float | None = None,
        detach_reset: bool = False,
        backend: Backend = "auto",
    ) -> None:
        super().__init__(
            1.0, threshold, reset=reset, surrogate=surrogate, alpha=alpha, detach_reset=detach_reset, backend=backend
        )


class PLIF(TemporalNeuron):
    """Parametric LIF: decay = sigmoid(`decay_logit`) and threshold = exp(`log_threshold`) are learned.

    Args:
        shape: shape of the learned tensors, broadcastable to `[*N]`; () shares one pair among all neurons.
        decay: initial β in (0, 1).
        threshold: initial θ > 0.
        reset: soft or hard.
        surrogate: name in `functional.surrogate.SURROGATES`.
        alpha: its sharpness, None for the usual one.
        detach_reset: keep the gradient from flowing through the reset.
        decay_input: scale the input by 1 − β as well, as published.
        backend: implementation.

    Raises:
        ConfigError: an initial value that the parametrisation cannot reach.
    """

    def __init__(
        self,
        shape: tuple[int, ...] = (),
        decay: float = 0.5,
        threshold: float = 1.0,
        *,
        reset: Reset = "soft",
        surrogate: str = "arctan",
        alpha: float | None = None,
        detach_reset: bool = False,
        decay_input: bool = False,
        backend: Backend = "auto",
    ) -> None:
        if not (0 < decay < 1 and 0 < threshold < math.inf):
            raise ConfigError(
                "A learned decay and threshold start strictly inside their ranges.",
                expected="0 < decay < 1 and threshold > 0",
                received=f"decay={decay}, threshold={threshold}",
            )
        super().__init__(
            reset=reset,
            surrogate=surrogate,
            alpha=alpha,
            detach_reset=detach_reset,
            decay_input=decay_input,
            backend=backend,
        )
        self.decay_logit = nn.Parameter(torch.full(shape, math.log(decay / (1 - decay))))
        self.log_threshold = nn.Parameter(torch.full(shape, math.log(threshold)))

    def constants(self) -> tuple[Tensor, Tensor]:
        """β in (0, 1) and θ > 0, differentiable."""
        return torch.sigmoid(self.decay_logit), torch.exp(self.log_threshold)


class IntegerLIF(TemporalNeuron):
    """Integer-firing LIF: up to D spikes in one training step, which inference unrolls into D binary steps.

    Args:
        max_count: D ≥ 1.
        decay: β in [0, 1].
        threshold: θ > 0, the charge of one spike.
        detach_reset: the published neuron detaches.
        backend: implementation.
    """

    def __init__(
        self,
        max_count: int = 4,
        decay: float = 0.25,
        threshold: float = 1.0,
        *,
        detach_reset: bool = True,
        backend: Backend = "auto",
    ) -> None:
        super().__init__(max_count=max_count, detach_reset=detach_reset, backend=backend)
        self.decay = decay
        self.threshold = threshold

    def constants(self) -> tuple[float | Tensor, float | Tensor]:
        """The two numbers given at construction."""
        return self.decay, self.threshold
