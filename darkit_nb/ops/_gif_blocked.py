"""GIF quantise-and-fire on the CPU: cache-sized row blocks, in-place operations, no mask unless a code is clamped.

The law is `functional/gif.py`. What is saved here, in passes over the tokens:

- A code is monotone in x, so the codes of a token's minimum and maximum say whether any code of the token can leave
  0 … cap. Nearly always none can (the range was taken from these very values), and clamping, the mask of clamped
  codes and the NaN rule are needed for the few other tokens only.
- Adding 1.5·2²³ rounds half to even and leaves the integer in the low bits of the float, from where a narrowing copy
  takes it: `float → uint8` conversion is three times slower in PyTorch than `int32 → uint8`.
- `amin` and `amax` are vectorised, `aminmax(dim=…)` is not (7 times slower).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from darkit_nb.functional.gif import gif_scales
from darkit_nb.functional.spike_code import count_dtype
from darkit_nb.records.spike_spec import Coding, Ranges, code_cap

BLOCK_ELEMENTS = 131072
"""Elements of one block and thread. Measured: smaller blocks pay for calls, larger ones leave the L2 cache."""
ROUNDER = 1.5 * 2.0**23
ROUNDER_BITS = 0x4B400000


@dataclass(frozen=True)
class GifLaw:
    """The settings of a GIF neuron, as every hand of the law takes them."""

    num_levels: int
    num_steps: int = 1
    coding: Coding = "rate"
    ranges: Ranges = "shared"
    signed: bool = False

    @property
    def cap_lo(self) -> int:
        """Largest code of a feature with one step."""
        return self.num_levels - 1

    @property
    def cap_hi(self) -> int:
        """Largest code of a salient feature."""
        return code_cap(self.num_levels, self.num_steps, self.coding)

    @property
    def ratio(self) -> int | None:
        """scale_lo / scale_hi where that is an integer by definition, else None."""
        return None if self.ranges == "own" or self.coding == "paper" else self.cap_hi // self.cap_lo

    def dtype(self, has_salient: bool) -> torch.dtype:
        """Dtype of the counts."""
        return count_dtype(self.cap_hi if has_salient else self.cap_lo, self.signed)

    def scales(self, x: Tensor, salient: Tensor | None) -> tuple[Tensor, Tensor]:
        """`functional.gif.gif_scales` with these settings."""
        return gif_scales(
            x,
            num_levels=self.num_levels,
            num_steps=self.num_steps,
            salient=salient,
            coding=self.coding,
            ranges=self.ranges,
            signed=self.signed,
        )


class _Workspace(threading.local):
    """Scratch that survives between calls: fresh memory costs more in page faults than the arithmetic on it."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, torch.dtype], Tensor] = {}

    def take(self, name: str, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        held, size = self._buffers.get((name, dtype)), math.prod(shape)
        if held is None or held.numel() < size:
            held = torch.empty(size, dtype=dtype)
            self._buffers[name, dtype] = held
        return held[:size].view(shape)


_workspace = _Workspace()


def row_blocks(x: Tensor) -> Iterator[slice]:
    """Slices of rows that fit the cache together with their scratch."""
    rows, features = x.shape
    step = max(1, BLOCK_ELEMENTS * torch.get_num_threads() // features)
    for start in range(0, rows, step):
        yield slice(start, min(rows, start + step))


class Features:
    """Which features are salient, in the forms the blocks need. `salient` is `[D]` or None."""

    def __init__(self, law: GifLaw, salient: Tensor | None) -> None:
        self.salient = salient
        self.flags = None if salient is None else salient.to(law.dtype(True))
        self.ratio = None if salient is None or law.ratio is None else torch.where(salient, 1.0, float(law.ratio))

    def spread_scale(self, scale: Tensor, features: int) -> Tensor:
        """Divisor of every element of a block: `[n, 1]` for one group, else `[n, D]` in scratch."""
        if self.salient is None:
            return scale
        out = _workspace.take("divisor", (scale.shape[0], features), torch.float32)
        if self.ratio is not None:
            return torch.mul(scale[:, 1:2], self.ratio, out=out)
        out.copy_(scale[:, 0:1])
        high = self.salient.nonzero().squeeze(1)
        return out.index_copy_(1, high, scale[:, 1:2].expand(-1, high.numel()))


def _extremes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Minimum and maximum of every row, `[R, 1]` float32; 0 where there is no feature."""
    low, high = torch.zeros(x.shape[0], 1), torch.zeros(x.shape[0], 1)
    if x.shape[1]:
        for block in row_blocks(x):
            low[block] = x[block].amin(-1, keepdim=True)
            high[block] = x[block].amax(-1, keepdim=True)
    return low, high


Column = tuple[Tensor, Tensor]
"""Minimum and maximum of a range group, `[R, 1]` each."""


def _ends(x: Tensor, features: Features, law: GifLaw) -> list[Column]:
    """Extreme values of every token, for each range group."""
    if features.salient is None:
        return [_extremes(x)]
    if law.ranges == "own":
        return [_extremes(x[:, ~features.salient]), _extremes(x[:, features.salient])]
    return [_extremes(x)] * 2


def _scales_of(ends: list[Column], law: GifLaw) -> tuple[Tensor, Tensor]:
    """Scales and zero points of the tokens: those of the few columns that hold their extremes."""
    columns = torch.stack([end.squeeze(1) for column in ends for end in column]).T
    return law.scales(columns, torch.tensor([False, False, True, True]) if len(ends) == 2 else None)


def limits(law: GifLaw, salient: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest code, 0-d or of the shape of the mask."""
    cap = torch.full((), law.cap_lo, dtype=like.dtype, device=like.device)
    if salient is not None:
        cap = torch.where(salient, law.cap_hi, cap)
    return (-cap if law.signed else torch.zeros_like(cap)), cap


def spread(grouped: Tensor, salient: Tensor | None) -> Tensor:
    """A `[R, G]` value over features: `[R, D]`, or `[R, 1]` when there is one group."""
    return grouped if salient is None else torch.where(salient, grouped[:, 1:2], grouped[:, 0:1])


def raw_codes(x: Tensor, scale: Tensor, zero: Tensor, salient: Tensor | None) -> Tensor:
    """Codes before clamping, by the formula as it stands."""
    return torch.round(x.to(scale.dtype) / spread(scale, salient)) + spread(zero, salient)


@dataclass(frozen=True)
class Rows:
    """What the extremes of the tokens tell: scales, zero points, and the tokens in which a code may be clamped."""

    scale: Tensor
    zero: Tensor
    doubtful: Tensor


def survey(x: Tensor, features: Features, law: GifLaw) -> Rows:
    """First pass: one read of `x`, `[R, D]`."""
    ends = _ends(x, features, law)
    scale, zero = _scales_of(ends, law)
    sound = torch.ones(x.shape[0], 1, dtype=torch.bool)
    for group, (cap, (low, high)) in enumerate(zip((law.cap_lo, law.cap_hi), ends, strict=False)):
        unit, shift = scale[:, group : group + 1], zero[:, group : group + 1]
        # Comparisons that a NaN fails.
        sound &= (high / unit).round_().add_(shift) <= cap
        sound &= (low / unit).round_().add_(shift) >= (-cap if law.signed else 0)
    return Rows(scale, zero, (~sound.squeeze(1)).nonzero().squeeze(1))


def _clamp_doubtful(x: Tensor, found: Rows, law: GifLaw, salient: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Codes of the doubtful rows, and the mask `[R, D]` of clamped codes if there is one."""
    codes = raw_codes(x[found.doubtful], found.scale[found.doubtful], found.zero[found.doubtful], salient)
    limited = codes.nan_to_num(0.0).clamp(*limits(law, salient, codes))
    changed = limited != codes
    if not bool(changed.any()):
        return limited, None
    clamped = torch.zeros(x.shape, dtype=torch.bool)
    clamped[found.doubtful] = changed
    return limited, clamped


def _rounded(x: Tensor, divisor: Tensor) -> Tensor:
    """x / divisor + 1.5·2²³ in scratch: the quotient rounded half to even, in the low bits."""
    out = _workspace.take("codes", x.shape, torch.float32)
    if x.dtype == torch.float32:
        torch.div(x, divisor, out=out)
    else:
        out.copy_(x).div_(divisor)
    return out.add_(ROUNDER)


def encode(x: Tensor, law: GifLaw, salient: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Counts, scale, zero point and mask of clamped codes of `x` `[R, D]`; see `ops.gif.encode_rows`."""
    features = Features(law, salient)
    found = survey(x, features, law)
    dtype = law.dtype(salient is not None)
    counts = torch.empty(x.shape, dtype=dtype)
    # Codes of sound rows lie in the dtype, so wrap-around while adding is undone; doubtful rows are overwritten.
    zero = found.zero.nan_to_num(0.0).to(torch.int32)
    shift = zero.to(dtype)
    for block in row_blocks(x):
        codes = _rounded(x[block], features.spread_scale(found.scale[block], x.shape[1])).view(torch.int32)
        out = counts[block]
        if dtype == torch.int32:
            torch.sub(codes, ROUNDER_BITS, out=out)
        else:
            out.copy_(codes)
        if law.signed:
            continue
        out.add_(shift[block, 0:1])
        if features.flags is not None:
            extra = _workspace.take("extra", out.shape, dtype)
            out.add_(torch.mul(shift[block, 1:2] - shift[block, 0:1], features.flags, out=extra))
    clamped = None
    if found.doubtful.numel():
        limited, clamped = _clamp_doubtful(x, found, law, salient)
        counts[found.doubtful] = limited.to(dtype)
    return counts, found.scale, zero, clamped


def quantise(x: Tensor, law: GifLaw, salient: Tensor | None) -> tuple[Tensor, Rows, Tensor | None]:
    """The value the codes of `x` `[R, D]` stand for, the survey, and the mask of clamped codes."""
    features = Features(law, salient)
    found = survey(x, features, law)
    values = torch.empty_like(x, memory_format=torch.contiguous_format)
    for block in row_blocks(x):
        divisor = features.spread_scale(found.scale[block], x.shape[1])
        out = values[block]
        if x.dtype == torch.float32:
            torch.div(x[block], divisor, out=out).round_().mul_(divisor)
        else:
            codes = _workspace.take("codes", x[block].shape, torch.float32)
            out.copy_(codes.copy_(x[block]).div_(divisor).round_().mul_(divisor))
    clamped = None
    if found.doubtful.numel():
        limited, clamped = _clamp_doubtful(x, found, law, salient)
        scale, zero = (spread(value[found.doubtful], salient) for value in (found.scale, found.zero))
        values[found.doubtful] = ((limited - zero) * scale).to(x.dtype)
    return values, found, clamped


def quantise_centred(x: Tensor, law: GifLaw, salient: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Values of `x` `[R, D]`, their centred counts (counts − zero point), the scale, and the mask of clamped codes."""
    features = Features(law, salient)
    found = survey(x, features, law)
    values = torch.empty(x.shape)
    centred = torch.empty(x.shape, dtype=count_dtype(law.cap_hi if salient is not None else law.cap_lo, signed=True))
    for block in row_blocks(x):
        divisor = features.spread_scale(found.scale[block], x.shape[1])
        out = values[block]
        if x.dtype == torch.float32:
            torch.div(x[block], divisor, out=out)
        else:
            out.copy_(x[block]).div_(divisor)
        integers = out.add_(ROUNDER).view(torch.int32)
        if centred.dtype == torch.int32:
            torch.sub(integers, ROUNDER_BITS, out=centred[block])
        else:
            centred[block].copy_(integers)
        out.sub_(ROUNDER).mul_(divisor)
    clamped = None
    if found.doubtful.numel():
        limited, clamped = _clamp_doubtful(x, found, law, salient)
        scale, zero = (spread(value[found.doubtful], salient) for value in (found.scale, found.zero))
        centred[found.doubtful] = (limited - zero).to(centred.dtype)
        values[found.doubtful] = (limited - zero) * scale
    return values, centred, found.scale, clamped


def decode_centred(centred: Tensor, scale: Tensor, law: GifLaw, salient: Tensor | None) -> Tensor:
    """Values `[R, D]` float32 of centred counts and scales: what `quantise_centred` returned, bit for bit."""
    features = Features(law, salient)
    values = torch.empty(centred.shape)
    for block in row_blocks(centred):
        divisor = features.spread_scale(scale[block], centred.shape[1])
        values[block].copy_(centred[block]).mul_(divisor)
    return values
