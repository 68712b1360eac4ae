"""A spike is a Heaviside step; its derivative, zero almost everywhere, is replaced by a surrogate in the backward.

Every surrogate is a formula of z = membrane − threshold and a sharpness α, stated once in `SURROGATES`: an even,
finite, non-negative function with its peak at the threshold. The kernels know them by `code`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from darkit_nb.errors import ConfigError


@dataclass(frozen=True)
class Surrogate:
    """One surrogate derivative.

    Attributes:
        name: how configurations and layers ask for it.
        code: number of the same formula in `kernels/surrogate.cuh`.
        formula: the derivative as an expression of z and alpha.
        alpha: default sharpness.
        derivative: the formula on tensors.
        source: where it was introduced.
    """

    name: str
    code: int
    formula: str
    alpha: float
    derivative: Callable[[Tensor, float], Tensor]
    source: str


def _sigmoid(z: Tensor, alpha: float) -> Tensor:
    # By exp(−α|z|), never σ(αz)(1 − σ(αz)): that one loses all digits on the right and is not even.
    decay = torch.exp(-alpha * z.abs())
    return alpha * decay / (1 + decay).square()


_ALL = (
    Surrogate("straight_through", 0, "1", 1.0, lambda z, alpha: torch.ones_like(z), "Bengio et al. 2013"),
    Surrogate(
        "rectangle",
        1,
        "alpha if abs(z) <= 0.5 / alpha else 0",
        1.0,
        lambda z, alpha: alpha * (z.abs() <= 0.5 / alpha).to(z.dtype),
        "Wu et al. 2018 (STBP)",
    ),
    Surrogate(
        "triangle",
        2,
        "alpha * max(0, 1 - alpha * abs(z))",
        1.0,
        lambda z, alpha: alpha * (1 - alpha * z.abs()).clamp(min=0),
        "Esser et al. 2016; Bellec et al. 2018",
    ),
    Surrogate(
        "arctan",
        3,
        "(alpha / 2) / (1 + (pi / 2 * alpha * z) ** 2)",
        2.0,
        lambda z, alpha: (alpha / 2) / (1 + (math.pi / 2 * alpha * z).square()),
        "Fang et al. 2021 (PLIF)",
    ),
    Surrogate(
        "sigmoid", 4, "alpha * exp(-alpha * abs(z)) / (1 + exp(-alpha * abs(z))) ** 2", 4.0, _sigmoid, "Roy 2019"
    ),
    Surrogate(
        "fast_sigmoid",
        5,
        "1 / (1 + alpha * abs(z)) ** 2",
        10.0,
        lambda z, alpha: (1 + alpha * z.abs()).square().reciprocal(),
        "Zenke and Ganguli 2018 (SuperSpike)",
    ),
    Surrogate(
        "gaussian",
        6,
        "alpha / sqrt(2 * pi) * exp(-((alpha * z) ** 2) / 2)",
        2.0,
        lambda z, alpha: alpha / math.sqrt(2 * math.pi) * torch.exp(-(alpha * z).square() / 2),
        "Yin et al. 2021, its central lobe",
    ),
    Surrogate(
        "exponential",
        7,
        "alpha / 2 * exp(-alpha * abs(z))",
        2.0,
        lambda z, alpha: alpha / 2 * torch.exp(-alpha * z.abs()),
        "Shrestha and Orchard 2018 (SLAYER)",
    ),
)

SURROGATES: dict[str, Surrogate] = {surrogate.name: surrogate for surrogate in _ALL}
DEFAULT_SURROGATE = "arctan"


def resolve_surrogate(name: str, alpha: float | None = None) -> tuple[Surrogate, float]:
    """The surrogate of that name and its sharpness.

    Raises:
        ConfigError: there is none of that name, or the sharpness is not positive.
    """
    if name not in SURROGATES:
        raise ConfigError(
            f"There is no surrogate gradient {name!r}.", expected=f"one of {', '.join(SURROGATES)}", received=repr(name)
        )
    found = SURROGATES[name]
    sharpness = found.alpha if alpha is None else float(alpha)
    if not 0 < sharpness < math.inf:
        raise ConfigError(
            f"The sharpness of the {name} surrogate is not usable.",
            expected="a finite alpha > 0",
            received=repr(alpha),
            fix=f"leave it out to get the usual {found.alpha}",
        )
    return found, sharpness


class _Heaviside(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, surrogate: Surrogate, alpha: float) -> Tensor:
        ctx.save_for_backward(z)
        ctx.surrogate, ctx.alpha = surrogate, alpha
        return (z >= 0).to(z.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (z,) = ctx.saved_tensors
        wide = z if z.dtype == torch.float64 else z.float()
        return (grad * ctx.surrogate.derivative(wide, ctx.alpha)).to(z.dtype), None, None


def heaviside(z: Tensor, surrogate: str = DEFAULT_SURROGATE, alpha: float | None = None) -> Tensor:
    """1 where z ≥ 0, else 0 (a NaN does not fire); the gradient is that of the surrogate.

    Args:
        z: membrane minus threshold, any shape, any float dtype.
        surrogate: name in `SURROGATES`.
        alpha: sharpness α > 0; None takes the usual one of the surrogate.

    Raises:
        ConfigError: unknown surrogate or sharpness not positive.

    Numerics: the derivative is evaluated in float32 (float64 for float64 input) and rounded once.
    """
    found, sharpness = resolve_surrogate(surrogate, alpha)
    return _Heaviside.apply(z, found, sharpness)
