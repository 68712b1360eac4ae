"""Spike counts of keys and values as few bytes as they need, in plain PyTorch: what a key/value cache holds.

A usual feature has codes up to Q−1 and takes the 1, 2, 4 or 8 bits that hold them, packed low bits first. The codes of
salient features go further; what they have above those bits lies in a plane of its own, one byte a salient feature.
With a shared range one scale a token is enough: that of the usual features is its integer multiple. Zero points lie in
0 … cap, and take what a count takes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64, Integer, Shaped
from torch import Tensor
from torch.nn.functional import pad

from darkit_nb.errors import ShapeError
from darkit_nb.functional.spike_code import SpikeCode, count_dtype
from darkit_nb.records.spike_spec import code_cap


@dataclass(frozen=True, eq=False)
class SpikeLayout:
    """How the counts of one neuron lie in bytes; the same for all its tokens.

    Attributes:
        heads: H.
        width: K, features of a token and head.
        settings: arguments of `SpikeCode` that all tokens share, the salient mask (`[H, 1, K]` or `[K]`) among them.
        low_bits: bits of a usual feature: 1, 2, 4 or 8; 0 where counts are kept as they are.
        places: `[2, M]`, head and feature of all M salient features; None where codes have no high part.
    """

    heads: int
    width: int
    settings: dict[str, Any]
    low_bits: int
    places: Int64[Tensor, "2 M"] | None

    @staticmethod
    def of(code: SpikeCode) -> SpikeLayout:
        """The layout for codes like this one."""
        names = ("num_levels", "num_steps", "coding", "ranges", "signed", "salient")
        settings = {name: getattr(code, name) for name in names}
        largest = (code.num_levels - 1) * (2 if code.signed else 1)
        low_bits = next((bits for bits in (1, 2, 4, 8) if largest < 2**bits), 0)
        salient = code.salient
        places = None
        if salient is not None and low_bits and code.cap * (2 if code.signed else 1) >= 2**low_bits:
            heads, _, features = salient.expand(code.counts.shape[1], 1, -1).nonzero(as_tuple=True)
            places = torch.stack([heads, features])
        return SpikeLayout(code.counts.shape[1], code.counts.shape[-1], settings, low_bits, places)

    @property
    def cap(self) -> int:
        """Largest code of any feature."""
        kept = self.settings
        return code_cap(kept["num_levels"], 1 if kept["salient"] is None else kept["num_steps"], kept["coding"])

    @property
    def ratio(self) -> int | None:
        """What the scale of usual features is as a multiple of the salient ones', where one is kept; else None."""
        kept = self.settings
        if kept["salient"] is None or kept["ranges"] == "own" or kept["coding"] == "paper":
            return None
        return self.cap // (kept["num_levels"] - 1)


@dataclass(frozen=True, eq=False)
class PackedSpikes:
    """Packed counts of tokens `[B, H, L]` of K features each.

    Attributes:
        low: `[B, H, L, P]` uint8, the low bits; counts themselves where the layout has no bits.
        high: `[B, 1, L, M]`, what the codes of the salient features of all heads have above, or None.
        scale: `[B, H, L, 1]` or `[B, H, L, 2]` float32.
        zero: `[B, H, L, G]` small integers, or None for signed spikes.
        layout: how to read them.
    """

    low: Integer[Tensor, "B H L P"]
    high: Integer[Tensor, "B 1 L M"] | None
    scale: Float[Tensor, "B H L _"]
    zero: Integer[Tensor, "B H L G"] | None
    layout: SpikeLayout

    @property
    def parts(self) -> tuple[Tensor | None, ...]:
        """All tensors that have tokens."""
        return self.low, self.high, self.scale, self.zero

    @property
    def shape(self) -> tuple[int, ...]:
        """`(B, H, L, K)`."""
        return (*self.low.shape[:-1], self.layout.width)

    @property
    def nbytes(self) -> int:
        """Bytes these tokens take; the layout is shared by all and not counted."""
        return sum(part.numel() * part.element_size() for part in self.parts if part is not None)

    def each(self, change: Callable[[Tensor], Tensor]) -> PackedSpikes:
        """`change`, which may do anything to batch and tokens and nothing to heads and features, done to every part."""
        optional = [None if part is None else change(part) for part in (self.high, self.zero)]
        return PackedSpikes(change(self.low), optional[0], change(self.scale), optional[1], self.layout)

    def tokens(self, begin: int, end: int) -> PackedSpikes:
        """Tokens `begin` … `end` − 1, a view."""
        return self.each(lambda part: part[..., begin:end, :])

    def token_values(self) -> tuple[Tensor, Tensor]:
        """Scale `[B, H, L, G]`, and zero point `[B, H, L, G]` int32 of the unsigned codes that were packed.

        Those of signed spikes were raised by the cap of their feature.
        """
        layout, kept = self.layout, self.layout.settings
        scale = self.scale
        if layout.ratio is not None:
            scale = torch.cat([scale * layout.ratio, scale], -1)
        if self.zero is not None:
            return scale, self.zero.to(torch.int32)
        caps = [kept["num_levels"] - 1, layout.cap][: scale.shape[-1]]
        raised = torch.tensor(caps if layout.low_bits else [0] * len(caps), dtype=torch.int32, device=scale.device)
        return scale, raised.expand(scale.shape)

    def unpack(self) -> SpikeCode:
        """The code that was packed, bit for bit."""
        layout, kept = self.layout, self.layout.settings
        counts = _unpack(self.low, layout).to(_wide(layout.cap, kept["signed"]), copy=True)
        if self.high is not None and layout.places is not None:
            heads, features = layout.places
            # Selecting heads and features at once brings their common axis to the front: [M, B, L].
            above = (self.high.to(counts.dtype) << layout.low_bits)[:, 0].movedim(-1, 0)
            counts[:, heads, :, features] += above
        scale, zero = self.token_values()
        code = SpikeCode(counts, scale, torch.zeros_like(zero) if kept["signed"] else zero, **kept)
        if kept["signed"] and layout.low_bits:
            counts = counts - torch.as_tensor(code.cap_per_feature, device=counts.device).to(counts.dtype)
        return dataclasses.replace(code, counts=counts.to(count_dtype(layout.cap, kept["signed"])))


def _wide(cap: int, signed: bool) -> torch.dtype:
    """Where counts are put together: signed ones are above their range until their cap is taken off."""
    return count_dtype(2 * cap, signed=True) if signed else count_dtype(cap)


@torch.no_grad()
def pack_spikes(code: SpikeCode, layout: SpikeLayout | None = None) -> PackedSpikes:
    """Pack a code of keys or values.

    Args:
        code: counts `[B, H, L, K]`, salient mask the same for all tokens of a head.
        layout: of earlier tokens of the same neuron; made when None.

    Raises:
        ShapeError: the salient mask differs between tokens, or the layout is of another width.
    """
    salient = code.salient
    if salient is not None and salient.dim() > 1 and salient.shape[-2] != 1:
        raise ShapeError(
            "Only codes whose salient features are the same for every token can be packed.",
            expected="a mask [H, 1, K] or [K]",
            received=str(list(salient.shape)),
        )
    layout = layout or SpikeLayout.of(code)
    if code.counts.shape[-1] != layout.width:
        raise ShapeError(
            "These spikes do not belong to the tokens packed before.",
            expected=f"{layout.width} features",
            received=f"{code.counts.shape[-1]} features",
        )
    scale = code.scale if layout.ratio is None else code.scale[..., 1:]
    zero = None if code.signed else code.zero_point.to(count_dtype(code.cap))
    if not layout.low_bits:
        return PackedSpikes(code.counts, None, scale, zero, layout)
    counts = code.counts.to(torch.int32)
    if code.signed:
        counts = counts + code.cap_per_feature
    high = None
    if layout.places is not None:
        heads, features = layout.places
        above = counts[:, heads, :, features].movedim(0, -1)[:, None]
        high = (above >> layout.low_bits).to(count_dtype(code.cap * (2 if code.signed else 1) >> layout.low_bits))
    return PackedSpikes(_pack(counts & 2**layout.low_bits - 1, layout.low_bits), high, scale, zero, layout)


def _pack(counts: Shaped[Tensor, "*B K"], bits: int) -> Tensor:
    """Values below 2^bits into bytes, the first one low."""
    each = 8 // bits
    shifts = torch.arange(0, 8, bits, device=counts.device)
    grouped = pad(counts, (0, -counts.shape[-1] % each)).unflatten(-1, (-1, each))
    return (grouped << shifts).sum(-1).to(torch.uint8)


def _unpack(low: Tensor, layout: SpikeLayout) -> Tensor:
    bits = layout.low_bits
    if bits in (0, 8):
        return low
    # Few whole-tensor operations on bytes: this runs at every token that is generated.
    parts = [low >> shift & 2**bits - 1 for shift in range(0, 8, bits)]
    return torch.stack(parts, -1).flatten(-2)[..., : layout.width]
