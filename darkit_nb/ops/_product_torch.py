"""Integer products of spike counts and weight codes in PyTorch, on any device, by int8 products or exact float32 ones.

`torch._int_mm` multiplies bytes into int32. What does not fit a byte is split: counts into bytes with 256 times the
next, bytes up to 255 as q − 128 with 128 times the row sums of the weights added back, weight codes of 8 bits as
2·high + low. Without instructions for it a processor may saturate such products, so the first one of a device is
checked. Of one feature alone it gives wrong sums (torch 2.13): a feature of zeros is added. CUDA takes more than 16
rows, and multiples of 8 of the rest. Where bytes cannot be trusted, features are split so that every float32 sum stays
below 2²⁴, up to where it is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from darkit_nb.functional.spike_code import SpikeCode
from darkit_nb.ops.gif import gif_encode
from darkit_nb.ops.weight_layout import Segment, WeightLayout
from darkit_nb.records.spike_spec import Backend

SHIFT = 128
EXACT_FLOAT = 2**24
"""Integers up to here, and sums of them, are exact in float32."""


@cache
def int8_products_are_exact(device_type: str = "cpu") -> bool:
    """Whether `torch._int_mm` gives the sums that integers have, at the ends of their range too."""
    random = torch.Generator().manual_seed(0)
    left = torch.randint(0, 2, (33, 1030), generator=random, dtype=torch.int16) * 255 - 128
    right = torch.randint(0, 2, (40, 1030), generator=random, dtype=torch.int16) * 255 - 128
    try:
        found = _int8(left.to(device_type, torch.int8), right.to(device_type, torch.int8))
    except RuntimeError:
        return False
    return torch.equal(found.cpu().long(), left.long() @ right.long().T)


@dataclass(frozen=True, eq=False)
class TorchProducts:
    """Products with one weight; see `ops.spike_product.Products`."""

    layout: WeightLayout
    backend: Backend

    @property
    def nbytes(self) -> int:
        """Memory of the codes."""
        return sum(part.nbytes for segment in self.layout.segments for part in segment.bytes_ if part is not None)

    def product(self, code: SpikeCode) -> Tensor:
        """Outputs of spikes, `[*B, L, O]` float32."""
        return _product(code, self.layout)

    def byte_sums(self, code: SpikeCode) -> tuple[Tensor, int] | None:
        """Sums `[R, O]` int32 of counts − shift and codes, and that shift; None where it takes more than one product.

        One suffices where all features share a scale, and counts, codes and sums fit bytes and 32 bits.
        """
        layout = self.layout
        if len(layout.segments) != 1 or layout.cap * layout.bound * layout.features >= 2**31:
            return None
        (segment,) = layout.segments
        counts = _chosen(code.counts.reshape(-1, layout.features), layout, segment)
        high, low = segment.bytes_
        bytes_ = low is None and counts.dtype in (torch.uint8, torch.int8) and counts.numel() and high.numel()
        if not bytes_ or not int8_products_are_exact(counts.device.type):
            return None
        left, shift = _signed_bytes(counts, layout.cap)
        return _int8(left, high), shift

    def linear(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Outputs of tokens `[*B, D]`, `[*B, O]` in `dtype`."""
        law = vars(self.layout.law)
        return self.product(gif_encode(x, salient=self.layout.salient, backend=self.backend, **law)).to(dtype)


def _product(code: SpikeCode, layout: WeightLayout) -> Tensor:
    """`functional.spike_linear.spike_product` with the weight and the bias of `layout`, bit for bit."""
    counts = code.counts.reshape(-1, layout.features)
    scale, zero = (value.reshape(counts.shape[0], -1) for value in (code.scale, code.zero_point))
    wide = layout.cap * layout.bound * layout.features >= 2**31
    y = inner = None
    for segment in layout.segments:
        sums = _sums(_chosen(counts, layout, segment), segment, layout.cap, wide)
        value = _centre(sums, zero, segment, layout).to(scale.dtype).mul_(scale[:, segment.scale, None])
        inner = value if inner is None else inner.add_(value)
        if segment.ends_group:
            part = inner.mul_(segment.weight_scale)
            y, inner = part if y is None else y.add_(part), None
    if y is None:  # no feature, and so no segment
        y = scale.new_zeros(counts.shape[0], layout.outputs)
    y = y if layout.bias is None else y.add_(layout.bias)
    return y.view(*code.counts.shape[:-1], layout.outputs)


def _chosen(counts: Tensor, layout: WeightLayout, segment: Segment) -> Tensor:
    """Counts of the features of a segment, multiplied where its scale is that of the salient ones."""
    factor = layout.factor
    if segment.features is not None:
        counts = counts[:, segment.features]
        factor = None if factor is None else factor[segment.features]
    if factor is None:
        return counts
    # A signed byte times an unsigned one would widen, though the product fits the byte again.
    return counts * factor.to(counts.dtype) if layout.cap <= 127 or counts.dtype != torch.int8 else counts * factor


def _centre(sums: Tensor, zero: Tensor, segment: Segment, layout: WeightLayout) -> Tensor:
    """Take the zero points, over their own features, off the sums."""
    low = zero[:, :1] * (layout.ratio or 1)
    sums = sums - low.to(sums.dtype) * segment.low
    return sums if segment.high is None else sums.sub_(zero[:, 1:2].to(sums.dtype) * segment.high)


def _sums(counts: Tensor, segment: Segment, cap: int, wide: bool) -> Tensor:
    """`counts @ codes.T` in int32, or in int64 where that does not hold it."""
    kind = torch.int64 if wide else torch.int32
    parts = [_byte_sums(digits, segment, cap).to(kind) * worth for worth, digits in _digits(counts, cap)]
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0, dtype=kind)


def _digits(counts: Tensor, cap: int) -> Iterator[tuple[int, Tensor]]:
    """Counts as bytes to the base 256, the lowest first; the highest one has the sign."""
    worth = 1
    while counts.dtype not in (torch.uint8, torch.int8):
        if cap <= 127:
            counts = counts.to(torch.int8)
            break
        yield worth, (counts & 255).to(torch.uint8)
        counts, cap, worth = counts >> 8, cap >> 8, worth * 256
    yield worth, counts


def _byte_sums(counts: Tensor, segment: Segment, cap: int) -> Tensor:
    if segment.codes.shape[1] == 0:
        return torch.zeros(counts.shape[0], segment.codes.shape[0], dtype=torch.int32, device=counts.device)
    if not int8_products_are_exact(counts.device.type):
        return _float_sums(counts, segment)
    left, shift = _signed_bytes(counts, cap)
    high, low = segment.bytes_
    sums = _int8(left, high)
    if low is not None:
        sums = sums * 2 + _int8(left, low)
    return sums + shift * segment.row_sums if shift else sums


def _signed_bytes(counts: Tensor, cap: int) -> tuple[Tensor, int]:
    """Counts in bytes less a shift that makes them signed ones, and the shift."""
    if counts.dtype == torch.uint8 and cap > 127:
        return (counts ^ SHIFT).view(torch.int8), SHIFT
    return counts.to(torch.int8), 0


def _int8(left: Tensor, right: Tensor) -> Tensor:
    """`left @ right.T` of bytes, in int32."""
    (rows, features), outputs = left.shape, right.shape[0]
    if left.is_cuda:
        left = _filled(left, -features % 8, max(-rows % 8, 17 + 7 - rows))
        right = _filled(right, -features % 8, -outputs % 8)
    elif features == 1:
        left, right = _filled(left, 1, 0), _filled(right, 1, 0)
    return torch._int_mm(left, right.T)[:rows, :outputs]  # pyright: ignore[reportPrivateImportUsage]


def _filled(x: Tensor, columns: int, rows: int) -> Tensor:
    """`x` with so many columns and rows of zeros more; `pad` would copy it for none."""
    return pad(x, (0, columns, 0, rows)) if columns or rows else x


def _float_sums(counts: Tensor, segment: Segment) -> Tensor:
    most = max(1, EXACT_FLOAT // (255 * segment.largest))
    parts = zip(counts.split(most, -1), segment.codes.split(most, -1), strict=True)
    return torch.stack([(left.float() @ right.float().T).to(torch.int32) for left, right in parts]).sum(0).int()
