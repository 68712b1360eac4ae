"""What the numbers in a parameter look like: their spread, their zeros, what is not finite among them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

from darkit_nb.records.plain import own_fields


@dataclass(frozen=True, kw_only=True)
class ParameterStatistics:
    """A parameter or buffer of a module. Figures are of its finite values; None where it has none, as on `meta`.

    Attributes:
        name: in the module, as `weight`.
        role: a parameter, a buffer, or values decoded from buffers when they are used, as those of a packed weight.
        shape: sizes; empty also where they are not decided yet, which `reason` then says.
        dtype: as in `float32`.
        device: as in `cpu`.
        trainable: takes a gradient.
        reason: why there are no figures; "" where there are.
        counted: values that mean, deviation, zeros and histogram rest on; fewer than `size` for a very large one,
            evenly spread over it. Extremes and what is not finite are of all values.
        mean, std: of them; the deviation is of the values themselves, not of a population they were drawn from.
        minimum, maximum: of all values.
        zero_share: of the counted values.
        not_finite: how many of all values are NaN or infinite.
        histogram: counts in equal bins from `edges[0]` to `edges[1]`; integers of few values have a bin each.
        edges: outer ends of the histogram.
        gradient_norm: Euclidean, of the finite values of the gradient it holds; None where it holds none.
        gradient_not_finite: how many values of the gradient are not.
    """

    name: str
    role: Literal["parameter", "buffer", "decoded"]
    shape: tuple[int, ...]
    dtype: str
    device: str
    trainable: bool = False
    reason: str = ""
    counted: int = 0
    mean: float | None = None
    std: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    zero_share: float | None = None
    not_finite: int = 0
    histogram: tuple[int, ...] = field(default=(), repr=False)
    edges: tuple[float, float] = (0.0, 0.0)
    gradient_norm: float | None = None
    gradient_not_finite: int = 0

    @property
    def size(self) -> int:
        """How many values it has."""
        return prod(self.shape)

    @property
    def sampled(self) -> bool:
        """Whether the figures rest on a part of its values."""
        return bool(self.histogram) and self.counted < self.size - self.not_finite

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ParameterStatistics:
        """The record `to_dict` described; unknown keys are ignored, so that newer files stay readable."""
        own = own_fields(cls, data)
        own |= {name: tuple(own[name]) for name in ("shape", "histogram", "edges") if name in own}
        return cls(**own)
