"""A quantised weight laid out once for many integer products with the same salient features.

A segment holds the features that share one scale of activations and one of weights. With a shared range the scale of
usual features is an integer multiple of the salient ones', so counts are multiplied by it and one segment serves both:
no feature moves. With ranges of their own, salient features follow the others: a few of them leave their places to
weights of 0.

Axes: `O` outputs, `D` features, `M` features of a segment.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from darkit_nb.functional.spike_linear import parts_of
from darkit_nb.functional.weight import QuantisedWeight, WeightCode
from darkit_nb.ops._gif_blocked import GifLaw

FEW = 0.25
"""Up to this share of salient features it costs less to multiply zeros in their place than to move all the others."""


@dataclass(frozen=True, eq=False)
class Segment:
    """Features with one scale of activations and one of weights.

    Attributes:
        features: `[M]` int64, in the order of `codes`; None is all of them as they lie.
        codes: `[O, M]` centred, int8 where that holds them, else int16.
        scale: 0 or 1, which scale of a token.
        weight_scale: `[O]` float32.
        ends_group: whether the sum is multiplied with the scale of the weights after this segment.
        low: `[O]` int32, sum of the codes that the first zero point of a token belongs to.
        high: the same of the second zero point, or None where there is one only.
        largest: no code is farther from 0.
    """

    features: Tensor | None
    codes: Tensor
    scale: int
    weight_scale: Tensor
    ends_group: bool
    low: Tensor
    high: Tensor | None
    largest: int

    @cached_property
    def bytes_(self) -> tuple[Tensor, Tensor | None]:
        """`codes` in bytes: one tensor; beyond ±127 high and low, codes = 2·high + low."""
        if self.codes.dtype == torch.int8:
            return self.codes, None
        return (self.codes >> 1).to(torch.int8), (self.codes & 1).to(torch.int8)

    @cached_property
    def row_sums(self) -> Tensor:
        """`[O]` int32, sums of all codes."""
        return self.low if self.high is None else self.low + self.high


class WeightLayout:
    """What integer products with one weight, one bias and one choice of salient features need, made once.

    Args:
        weight: codes of `[O, D]`.
        bias: `[O]` or None.
        law: of the neuron in front.
        salient: bool `[D]`, or None.
    """

    def __init__(
        self, weight: WeightCode | QuantisedWeight, bias: Tensor | None, law: GifLaw, salient: Tensor | None
    ) -> None:
        self.law, self.salient = law, salient
        self.outputs = int(parts_of(weight)[0][1].codes.shape[0])
        self.features = sum(part.codes.shape[1] for _, part in parts_of(weight))
        self.bias = None if bias is None else bias.detach().float()
        self.segments = tuple(self._segments(weight))
        self.bound = max((segment.largest for segment in self.segments), default=0)

    @property
    def cap(self) -> int:
        """Largest count a product meets."""
        return self.law.cap_lo if self.salient is None else self.law.cap_hi

    @property
    def ratio(self) -> int | None:
        """What counts of usual features are multiplied with, or None where they are taken as they are."""
        return None if self.salient is None else self.law.ratio

    @cached_property
    def factor(self) -> Tensor | None:
        """`[D]`, `ratio` at usual features and 1 at salient ones, in a dtype that holds it."""
        if self.ratio in (None, 1) or self.salient is None:
            return None
        kind = torch.uint8 if self.cap <= 255 else torch.int32
        return torch.where(self.salient, 1, self.ratio).to(kind)

    def _segments(self, weight: WeightCode | QuantisedWeight) -> Iterator[Segment]:
        for columns, part in parts_of(weight):
            whole = columns is None and (part.group_size or self.features) >= self.features
            places = torch.arange(part.codes.shape[1], device=part.codes.device)
            size = part.group_size or max(1, places.numel())
            for group, chosen in enumerate(places.split(size)):
                features = chosen if columns is None else columns[chosen]
                yield from self._group(part, group, chosen, features, whole)

    def _group(self, part: WeightCode, group: int, places: Tensor, features: Tensor, whole: bool) -> Iterator[Segment]:
        weight_scale = part.scale[:, group].float()
        flags = None if self.salient is None else self.salient[features]
        if flags is None or self.ratio is not None:
            codes = part.codes if whole else part.codes[:, places]
            every = _sums(codes)
            high = None if flags is None else _sums(codes * flags)
            low = every if high is None else every - high
            scale, chosen = int(flags is not None), None if whole else features
            yield Segment(chosen, _narrow(codes, part), scale, weight_scale, True, low, high, part.largest)
            return
        if whole and 0 < int(flags.sum()) <= features.numel() * FEW:
            yield from self._around(part, weight_scale, flags)
            return
        picks = [pick for pick in (~flags, flags) if bool(pick.any())]
        for pick in picks:
            codes, salient = part.codes[:, places[pick]], bool(flags[pick][0])
            sums, ends = _sums(codes), pick is picks[-1]
            low, high = (torch.zeros_like(sums), sums) if salient else (sums, None)
            narrow = _narrow(codes, part)
            yield Segment(features[pick], narrow, int(salient), weight_scale, ends, low, high, part.largest)

    def _around(self, part: WeightCode, weight_scale: Tensor, flags: Tensor) -> Iterator[Segment]:
        """All features as they lie, the weights of the few salient ones 0, and these once more by themselves."""
        usual = part.codes.masked_fill(flags, 0)
        yield Segment(None, _narrow(usual, part), 0, weight_scale, False, _sums(usual), None, part.largest)
        codes, features = part.codes[:, flags], flags.nonzero().squeeze(1)
        sums = _sums(codes)
        none = torch.zeros_like(sums)
        yield Segment(features, _narrow(codes, part), 1, weight_scale, True, none, sums, part.largest)


def _narrow(codes: Tensor, part: WeightCode) -> Tensor:
    return codes.to(torch.int8) if part.largest <= 127 else codes


def _sums(codes: Tensor) -> Tensor:
    return codes.sum(-1, dtype=torch.int32)
