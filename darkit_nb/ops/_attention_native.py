"""Host side of `kernels/cpu/spike_attention.cpp`: planes of rows in, scores or sums out.

Axes: `[B, H, R, …]` rows of the queries that share a key/value head, `E` codes a byte, `P` bytes a token, `M` salient
features of all heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn.functional import pad

from darkit_nb.functional.packed_spikes import PackedSpikes, SpikeLayout
from darkit_nb.functional.spike_attention import GroupMasks
from darkit_nb.ops._native import call

_KINDS = "p" + "i" * 5 + "p" + "i" * 3 + "p" + "i" * 4 + "ppp"


def fits(packed: PackedSpikes, rows: Tensor) -> bool:
    """Whether the library reads these codes: bytes on the CPU, multiplied with float32."""
    parts = (packed.low, packed.low if packed.high is None else packed.high)
    small = bool(packed.layout.low_bits) and all(part.dtype == torch.uint8 for part in parts)
    return small and rows.device.type == "cpu" and rows.dtype == torch.float32 and rows.numel() > 0


@dataclass(frozen=True, eq=False)
class Constants:
    """What all products with codes of one layout share.

    Attributes:
        masks: of the groups, float32.
        begin: `[H + 1]` int64, where the columns of each head begin in the high plane: places are in order of heads.
        columns: `[M]` int64, numbers of the columns.
    """

    masks: GroupMasks | None
    begin: Tensor
    columns: Tensor


def constants_of(layout: SpikeLayout) -> Constants:
    """Made at the first product with a layout, and kept as long as it."""
    found = _constants.get(layout)
    if found is None:
        places = torch.empty(2, 0, dtype=torch.int64) if layout.places is None else layout.places
        begin = torch.searchsorted(places[0].contiguous(), torch.arange(layout.heads + 1))
        masks = GroupMasks.of(layout.settings["salient"], layout.ratio, torch.float32)
        found = _constants[layout] = Constants(masks, begin, torch.arange(places.shape[1]))
    return found


_constants: WeakKeyDictionary[SpikeLayout, Constants] = WeakKeyDictionary()


class PackedProducts:
    """Products of rows with the unsigned codes of one cache.

    Args:
        packed: codes that `fits`.
    """

    def __init__(self, packed: PackedSpikes) -> None:
        self.batch, self.heads, self.tokens, self.width = packed.shape
        self.layout = packed.layout
        self.low = packed.low if packed.low.stride(-1) == 1 else packed.low.contiguous()
        self.bytes_ = self.low.shape[-1]
        self.each = 8 // self.layout.low_bits
        places = self.layout.places
        if packed.high is None or places is None:
            self.high, self.places, strides, self.salient = self.low, None, (0, 0), 0
        else:
            self.high, self.places = packed.high if packed.high.stride(-1) == 1 else packed.high.contiguous(), places
            strides, self.salient = (self.high.stride(0), self.high.stride(2)), places.shape[1]
        self.constants = constants_of(self.layout)
        low = (self.low, *self.low.stride()[:3], self.layout.low_bits, self.bytes_)
        self.codes = (
            *low,
            self.high,
            *strides,
            self.salient,
            self.constants.begin,
            self.batch,
            self.heads,
            self.tokens,
        )

    def scores(self, rows: Tensor) -> Tensor:
        """`rows` `[B, H, R, K]` times counts, `[B, H, R, L]`."""
        number = rows.shape[2]
        whole = pad(rows, (0, self.bytes_ * self.each - self.width)).unflatten(-1, (self.bytes_, self.each))
        planes = whole.transpose(-1, -2).contiguous()
        above = torch.empty(self.batch, self.heads, number, self.salient)
        if self.places is not None:
            (heads, features), columns = self.places, self.constants.columns
            above[:, heads, :, columns] = rows[:, heads, :, features] * 2.0**self.layout.low_bits
        out = torch.empty(self.batch, self.heads, number, self.tokens)
        call("dk_code_scores", _KINDS, *self.codes, number, planes, above, out)
        return out

    def sums(self, weights: Tensor) -> Tensor:
        """`weights` `[B, H, R, L]` times counts, `[B, H, R, K]`."""
        number, weights = weights.shape[2], weights.contiguous()
        planes = torch.empty(self.batch, self.heads, number, self.each, self.bytes_)
        above = torch.empty(self.batch, self.heads, number, self.salient)
        call("dk_code_sums", _KINDS, *self.codes, number, weights, above, planes)
        out = planes.transpose(-1, -2).flatten(-2)[..., : self.width]
        if self.places is not None:
            (heads, features), columns = self.places, self.constants.columns
            out[:, heads, :, features] += above[:, heads, :, columns] * 2.0**self.layout.low_bits
        return out
