"""`SpikeCode`: the value that carries spikes, and everything that may be read from it.

Axes: `*B` leading batch axes, `L` tokens, `D` features, `G` range groups (1, or 2 = normal, salient), `S` steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int32, Integer
from torch import Tensor

from darkit_nb.records.spike_spec import Coding, Ranges, code_cap


def count_dtype(cap: int, signed: bool = False) -> torch.dtype:
    """Smallest integer dtype that holds every code 0 … cap (−cap … cap if signed)."""
    if signed:
        return torch.int8 if cap <= 127 else torch.int16 if cap <= 32767 else torch.int32
    return torch.uint8 if cap <= 255 else torch.int16 if cap <= 32767 else torch.int32


@dataclass(frozen=True, eq=False)
class SpikeCode:
    """Integer spike counts of every token with what is needed to read them. Detached: integers carry no gradient.

    Attributes:
        counts: `[*B, L, D]` integers, the smallest dtype that holds `cap`.
        scale: `[*B, L, G]` float, value of one count.
        zero_point: `[*B, L, G]` int32, the count that stands for the value 0.
        num_levels: Q, levels of one spike.
        num_steps: S, steps of a salient feature.
        coding: rate, radix or paper (see `SpikeSpec`).
        ranges: whether salient features share the token's range or have one of their own.
        signed: spikes are −(Q−1) … Q−1 and the zero point is 0.
        salient: boolean, broadcastable to `[*B, L, D]`; None when no feature gets more than one step.
    """

    counts: Integer[Tensor, "*B D"]
    scale: Float[Tensor, "*B G"]
    zero_point: Int32[Tensor, "*B G"]
    num_levels: int
    num_steps: int
    coding: Coding = "rate"
    ranges: Ranges = "shared"
    signed: bool = False
    salient: Tensor | None = None

    @property
    def cap(self) -> int:
        """Largest code of a feature that gets all steps."""
        return code_cap(self.num_levels, self.num_steps if self.salient is not None else 1, self.coding)

    @property
    def scale_ratio(self) -> int | None:
        """What the scale of a usual feature is in scales of a salient one, where that is an integer by definition."""
        if self.salient is None or self.ranges == "own" or self.coding == "paper":
            return None
        return self.cap // (self.num_levels - 1)

    @property
    def cap_per_feature(self) -> Tensor | int:
        """Largest code of each feature, broadcastable to `counts`."""
        if self.salient is None:
            return self.num_levels - 1
        return torch.where(self.salient, self.cap, self.num_levels - 1)

    @property
    def steps_per_feature(self) -> Tensor | int:
        """Spike steps of each feature, broadcastable to `counts`."""
        return 1 if self.salient is None else torch.where(self.salient, self.num_steps, 1)

    def per_feature(self, grouped: Tensor) -> Tensor:
        """Spread a `[*B, L, G]` value over features: `[*B, L, D]`, or `[*B, L, 1]` when there is one group."""
        if self.salient is None:
            return grouped
        return torch.where(self.salient, grouped[..., 1:2], grouped[..., 0:1])

    def dequantise(self) -> Float[Tensor, "*B D"]:
        """The value the spikes stand for, (counts − zero point) · scale, `[*B, L, D]` in the dtype of `scale`."""
        centred = self.counts.to(self.scale.dtype) - self.per_feature(self.zero_point).to(self.scale.dtype)
        return centred * self.per_feature(self.scale)

    @property
    def _magnitude(self) -> Tensor:
        return self.counts.to(torch.int32).abs()

    def planes(self) -> Integer[Tensor, "S *B D"]:
        """Spikes step by step, `[S, *B, L, D]`, materialised to be shown or simulated.

        rate and paper: s_t = clamp(q − t(Q−1), 0, Q−1), so the sum over t is min(q, S(Q−1)).
        radix: the base-Q digits of q, most significant first.
        A signed count gives every one of its spikes its sign.
        """
        steps = self.num_steps if self.salient is not None else 1
        step = torch.arange(steps, device=self.counts.device).view(-1, *[1] * self.counts.dim())
        if self.coding == "radix":
            # A one-step feature fires in the last step, whose weight is 1.
            spikes = self._magnitude // self.num_levels ** (steps - 1 - step) % self.num_levels
        else:
            spikes = (self._magnitude - step * (self.num_levels - 1)).clamp(0, self.num_levels - 1)
        spikes = spikes.to(count_dtype(self.num_levels - 1, self.signed))
        return spikes * self.counts.sign().to(spikes.dtype) if self.signed else spikes

    def plane_weights(self) -> list[int]:
        """What a spike of each step is worth, in counts, so that Σ_t weight_t · plane_t = counts."""
        steps = self.num_steps if self.salient is not None else 1
        if self.coding == "radix":
            return [self.num_levels ** (steps - 1 - t) for t in range(steps)]
        return [1] * steps

    @cached_property
    def lost_counts(self) -> int:
        """Counts that S steps cannot carry; non-zero only for paper codes, whose top code is too large."""
        if self.coding != "paper":
            return 0
        carried = self.steps_per_feature * (self.num_levels - 1)
        return int((self._magnitude - carried).clamp(min=0).sum())

    def active_steps(self) -> Int32[Tensor, "*B D"]:
        """Steps in which each feature fires, `[*B, L, D]` int32: ⌈q/(Q−1)⌉, or the non-zero base-Q digits of q."""
        if self.coding == "radix":
            return (self.planes() != 0).sum(0, dtype=torch.int32)
        steps = (self._magnitude + (self.num_levels - 2)) // (self.num_levels - 1)
        return steps.clamp(max=self.num_steps)

    def firing_rate(self) -> float:
        """Share of (token, feature, step) slots that hold a spike; features own 1 or S slots."""
        active = self.active_steps()
        slots = torch.as_tensor(self.steps_per_feature, device=active.device).expand(active.shape).sum()
        return float(active.sum() / slots)

    def silent_share(self) -> float:
        """Share of (token, feature) pairs that emit no spike at all."""
        return float((self.counts == 0).double().mean())

    def unary_events(self) -> Int32[Tensor, "*B D"]:
        """Unit spikes each feature emits, `[*B, L, D]` int32: q itself, or the digit sum of q in radix coding."""
        return (
            self.planes().to(torch.int32).abs().sum(0, dtype=torch.int32) if self.coding == "radix" else self._magnitude
        )

    def bitwise_events(self) -> Int32[Tensor, "*B D"]:
        """Set bits each feature sends, `[*B, L, D]` int32: popcount of every spike's level, summed over its steps."""
        return popcount(self.planes()).sum(0, dtype=torch.int32)

    @property
    def salient_fraction(self) -> float:
        """Share of features with all S steps."""
        return 0.0 if self.salient is None else float(self.salient.double().mean())

    @property
    def spike_length_bits(self) -> float:
        """Mean bits on the wire for one feature, ⟨S⟩·log₂Q.

        The paper writes it (T/L)·log₂L for T binary steps merged into T/L spikes of L levels; S = T/L, Q = L.
        Source: Xing et al. 2025 (SpikeLLM), section 3.
        """
        p = self.salient_fraction
        return (1 + p * (self.num_steps - 1)) * math.log2(self.num_levels)

    @property
    def code_bits(self) -> float:
        """Mean information of one feature, (1−p)·log₂Q + p·log₂(cap+1): what a quantiser of equal precision stores."""
        p = self.salient_fraction
        values = (lambda cap: 2 * cap + 1) if self.signed else (lambda cap: cap + 1)
        return (1 - p) * math.log2(values(self.num_levels - 1)) + (p * math.log2(values(self.cap)) if p else 0.0)


def popcount(x: Integer[Tensor, "*N"]) -> Int32[Tensor, "*N"]:
    """Number of set bits of |x|, element by element, int32."""
    bits = x.to(torch.int32).abs()
    bits = bits - ((bits >> 1) & 0x55555555)
    bits = (bits & 0x33333333) + ((bits >> 2) & 0x33333333)
    bits = (bits + (bits >> 4)) & 0x0F0F0F0F
    return (bits * 0x01010101) >> 24
