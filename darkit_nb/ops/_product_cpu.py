"""Integer product of spike counts and weight codes on the CPU, by int8 products or exact float32 ones.

`torch._int_mm` multiplies bytes into int32. What does not fit a byte is split: counts up to 255 as q − 128, with 128
times the row sums of the weights added back; weight codes of 8 bits as 2·high + low. Without instructions for it a
processor may saturate such products, so the first one of a process is checked. Of one feature alone it gives wrong sums
(torch 2.13): a feature of zeros is added.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from darkit_nb.functional.spike_code import SpikeCode
from darkit_nb.functional.weight import WeightCode

SHIFT = 128
EXACT_FLOAT = 2**24
"""Integers up to here, and sums of them, are exact in float32."""


@cache
def int8_products_are_exact() -> bool:
    """Whether `torch._int_mm` gives the sums that integers have, at the ends of their range too."""
    random = torch.Generator().manual_seed(0)
    left = torch.randint(0, 2, (33, 1030), generator=random, dtype=torch.int16) * 255 - 128
    right = torch.randint(0, 2, (40, 1030), generator=random, dtype=torch.int16) * 255 - 128
    try:
        found = _multiply(left.to(torch.int8), right.to(torch.int8))
    except RuntimeError:
        return False
    return torch.equal(found.long(), left.long() @ right.long().T)


def product(code: SpikeCode, weight: WeightCode, bias: Tensor | None) -> Tensor | None:
    """`functional.spike_linear.spike_product`, bit for bit; None where it has no exact fast form."""
    features = weight.codes.shape[1]
    bound = max(code.cap, SHIFT) * (2**weight.bits - 1) * features
    fits = code.counts.dtype in (torch.uint8, torch.int8) and bound < 2**31
    if fits and int8_products_are_exact():
        multiply = _int8_product
    elif bound <= EXACT_FLOAT:
        multiply = _float_product
    else:
        return None
    counts = code.counts.reshape(-1, features)
    sums = multiply(counts, weight, code.cap)
    groups = [(sums, weight.row_sums)]
    if code.salient is not None:
        # The salient features once more by themselves, the others 0, taken from the sums over all; the mask as one more
        # row gives their sums of weights. Faster than to gather their columns of the weights.
        chosen = code.salient.reshape(-1).expand(features).to(counts.dtype)[None]
        high = multiply(torch.cat([counts * chosen, chosen]), weight, code.cap)
        high, high_sums = high[:-1], high[-1]
        groups = [(sums.sub_(high), weight.row_sums - high_sums), (high, high_sums)]
    values: list[Tensor] = []
    for index, (part, part_sums) in enumerate(groups):
        scale, zero = (
            value.reshape(counts.shape[0], -1)[:, index : index + 1] for value in (code.scale, code.zero_point)
        )
        values.append(part.sub_(zero * part_sums).to(code.scale.dtype).mul_(scale))
    y = values[0] if len(values) == 1 else values[0].add_(values[1])
    y = y.mul_(weight.scale.T) if bias is None else y.mul_(weight.scale.T).add_(bias)
    return y.view(*code.counts.shape[:-1], weight.codes.shape[0])


def _int8_product(counts: Tensor, weight: WeightCode, cap: int) -> Tensor:
    if weight.codes.shape[1] == 0:
        return torch.zeros(counts.shape[0], weight.codes.shape[0], dtype=torch.int32)
    shifted = counts.dtype == torch.uint8 and cap > 127
    left = (counts ^ SHIFT).view(torch.int8) if shifted else counts.to(torch.int8)
    high, low = weight.bytes_
    sums = _multiply(left, high)
    if low is not None:
        sums = sums * 2 + _multiply(left, low)
    return sums + SHIFT * weight.row_sums if shifted else sums


def _multiply(left: Tensor, right: Tensor) -> Tensor:
    """`left @ right.T` of bytes, in int32."""
    if left.shape[1] == 1:
        left, right = pad(left, (0, 1)), pad(right, (0, 1))
    return torch._int_mm(left, right.T)  # pyright: ignore[reportPrivateImportUsage]


def _float_product(counts: Tensor, weight: WeightCode, cap: int) -> Tensor:
    return (counts.float() @ weight.codes.float().T).to(torch.int32)
