"""Host side of `kernels/packed_matvec.cu`: products of a few tokens with packed weights, for decoding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from darkit_nb.functional.packed import pack_codes
from darkit_nb.functional.spike_code import SpikeCode
from darkit_nb.functional.weight import WeightCode
from darkit_nb.ops._cupy import CupyLauncher
from darkit_nb.ops._launch import X_CODES, Launch, Launcher, aligned, ceil_div
from darkit_nb.ops.backend import wants_operators

THREADS = 128
OUTPUTS = 2
"""Outputs of a warp."""

TOKENS = 4
"""Tokens of a warp, at most."""

MOST_GROUPS = 128
"""Sums of a block's groups lie in shared memory."""

MOST_ROWS = 16
"""Up to here the bytes of the weights decide; beyond, a product of matrices is faster."""


@dataclass(frozen=True, eq=False)
class PackedWeight:
    """Weights of `O` outputs, `D` features and `G` groups, packed once for many products with one salient mask.

    Attributes:
        packed: `[O, ⌈D·bits/8⌉]` uint8, as `pack_codes` packs unsigned codes.
        scale: `[O, G]` float32.
        zero: `[O, G]` int32, what centres the codes.
        low: `[O, G]` int32, sums of centred codes over usual features.
        high: the same over salient features, or None.
        salient: bool `[D]` or None.
        bits: 1, 2, 4 or 8.
        features: D.
        group_size: features of a group.
        spacing: distance between neighbouring codes.
    """

    packed: Tensor
    scale: Tensor
    zero: Tensor
    low: Tensor
    high: Tensor | None
    salient: Tensor | None
    bits: int
    features: int
    group_size: int
    spacing: int

    @property
    def nbytes(self) -> int:
        """Memory of everything a product reads of the weight."""
        tensors = (self.packed, self.scale, self.zero, self.low, self.high)
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)


def fits(weight: WeightCode, cap: int, *, signed: bool = False) -> bool:
    """Whether products of counts up to `cap` with this weight have a matrix–vector kernel."""
    features = weight.codes.shape[1]
    chunk = 128 // weight.bits if weight.bits in (1, 2, 4, 8) else 0
    size = weight.group_size or features
    whole_chunks = chunk and (size >= features or size % chunk == 0) and features
    bytes_hold = cap <= (127 if signed else 255) and not (signed and weight.bits == 8)
    sums_hold = cap * (2**weight.bits - 1) * features < 2**31
    groups_fit = ceil_div(features, size) <= MOST_GROUPS if features else False
    return bool(whole_chunks and bytes_hold and sums_hold and groups_fit and weight.zero is not None)


@torch.no_grad()
def pack_weight(weight: WeightCode, salient: Tensor | None) -> PackedWeight:
    """Pack `weight`, which has zero points, for products with tokens whose salient features are `salient`."""
    outputs, features = weight.codes.shape
    unsigned, zero = weight.unsigned(), weight.zero if weight.zero is not None else torch.zeros_like(weight.scale)
    size = min(weight.group_size or features, features)
    codes = weight.codes.to(torch.int32)
    kinds = [codes] if salient is None else [codes * ~salient, codes * salient]
    sums = [
        torch.nn.functional.pad(kind, (0, -features % size)).view(outputs, -1, size).sum(-1, dtype=torch.int32)
        for kind in kinds
    ]
    return PackedWeight(
        pack_codes(unsigned, weight.bits),
        weight.scale.float().contiguous(),
        zero.to(torch.int32).contiguous(),
        sums[0].contiguous(),
        sums[1].contiguous() if len(sums) == 2 else None,
        None if salient is None else salient.contiguous(),
        weight.bits,
        features,
        size,
        weight.spacing,
    )


def matvec(
    code: SpikeCode, weight: PackedWeight, bias: Tensor | None, launcher: Launcher, dtype: torch.dtype = torch.float32
) -> Tensor:
    """`functional.spike_linear.spike_product` of counts in bytes with packed weights, `[*B, L, O]` in `dtype`.

    While a graph is recorded it is the operator `darkit::packed_matvec`, which starts its kernel through CuPy.

    Numerics: exact integer sums, then float32: bit-equal to the reference; then rounded to `dtype`.
    """
    kinds = 1 if weight.salient is None else 2
    tokens = code.counts.reshape(-1, weight.features)
    scale, zero = (value.reshape(-1, kinds) for value in (code.scale, code.zero_point))
    ratio = code.scale_ratio or 0
    if wants_operators():
        held = (weight.packed, weight.scale, weight.zero, weight.low, weight.high, weight.salient)
        settings = (weight.bits, weight.group_size, weight.spacing, ratio, dtype)
        y = torch.ops.darkit.packed_matvec(tokens, scale, zero, *held, bias, *settings)
    else:
        y = _matvec(tokens, scale, zero, weight, bias, ratio, launcher, dtype)
    return y.view(*code.counts.shape[:-1], y.shape[1])


def _matvec(
    counts: Tensor,
    scale: Tensor,
    zero: Tensor,
    weight: PackedWeight,
    bias: Tensor | None,
    ratio: int,
    launcher: Launcher,
    dtype: torch.dtype,
) -> Tensor:
    """`counts` `[R, D]`, their scale and zero point `[R, K]`: outputs `[R, O]`."""
    (rows, features), outputs = counts.shape, weight.packed.shape[0]
    counts, scale, zero = counts.contiguous(), scale.contiguous(), zero.contiguous()
    tokens = min(max(rows, 1), TOKENS)
    whole = features * weight.bits % 128 == 0 and aligned(counts, weight.packed, weight.salient)
    y = torch.empty(rows, outputs, dtype=dtype, device=counts.device)
    if not y.numel():
        return y
    defines = (
        ("DK_X", X_CODES[dtype]),
        ("DK_BITS", weight.bits),
        ("DK_SIGNED", int(counts.dtype == torch.int8)),
        ("DK_SALIENT", int(weight.salient is not None)),
        ("DK_GROUPS", weight.scale.shape[1]),
        ("DK_TOKENS", tokens),
        ("DK_OUTS", OUTPUTS),
        ("DK_ALIGNED", int(whole)),
        ("DK_THREADS", THREADS),
    )
    sizes = (rows, features, outputs, weight.group_size, weight.spacing, ratio)
    bias = None if bias is None else bias.to(torch.float32).contiguous()
    tensors = (counts, weight.packed, weight.salient, scale, zero, weight.scale, weight.zero, weight.low, weight.high)
    grid = (ceil_div(outputs, OUTPUTS * THREADS // 32), ceil_div(rows, tokens))
    launcher.launch(Launch("packed_matvec", "packed_matvec", defines, grid, THREADS, (*tensors, bias, y, *sizes)))
    return y


@torch.library.custom_op(
    "darkit::packed_matvec",
    mutates_args=(),
    device_types="cuda",
    schema="(Tensor counts, Tensor scale, Tensor zero, Tensor packed, Tensor weight_scale, Tensor weight_zero, "
    "Tensor low, Tensor? high, Tensor? salient, Tensor? bias, int bits, int group_size, int spacing, int ratio, "
    "ScalarType dtype) -> Tensor",
)
def _matvec_op(counts: Any, scale: Any, zero: Any, *arguments: Any) -> Tensor:
    packed, weight_scale, weight_zero, low, high, salient, bias, bits, group_size, spacing, ratio, dtype = arguments
    weight = PackedWeight(
        packed, weight_scale, weight_zero, low, high, salient, bits, counts.shape[1], group_size, spacing
    )
    return _matvec(counts, scale, zero, weight, bias, ratio, CupyLauncher(), dtype)


@_matvec_op.register_fake
def _(counts: Any, scale: Any, zero: Any, packed: Any, *arguments: Any) -> Tensor:
    return counts.new_empty((counts.shape[0], packed.shape[0]), dtype=arguments[-1])
