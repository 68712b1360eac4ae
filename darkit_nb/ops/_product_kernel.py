"""Host side of `kernels/spike_linear.cu`: outputs and arguments of the integer product."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from darkit_nb.functional.spike_code import SpikeCode
from darkit_nb.functional.weight import WeightCode
from darkit_nb.ops._cupy import CupyLauncher
from darkit_nb.ops._launch import MAX_BLOCKS, Q_CODES, X_CODES, Launch, Launcher, ceil_div
from darkit_nb.ops.backend import wants_operators

TILE = 16


def product_kernel(code: SpikeCode, weight: WeightCode, bias: Tensor | None, launcher: Launcher) -> Tensor:
    """The exact product of any codes by integer arithmetic, `[*B, L, O]` float32; see `ops.spike_product`.

    While a graph is recorded it is the operator `darkit::spike_product`, which starts its kernel through CuPy.
    """
    features = weight.codes.shape[1]
    salient = None if code.salient is None else code.salient.reshape(-1).expand(features)
    groups = 1 if salient is None else 2
    counts = code.counts.reshape(-1, features)
    scale, zero = (part.reshape(-1, groups) for part in (code.scale, code.zero_point))
    weight_scale, bits, cap, ratio = weight.scale.reshape(-1), weight.bits, code.cap, code.scale_ratio or 0
    if wants_operators():
        y = torch.ops.darkit.spike_product(
            counts, scale, zero, salient, weight.codes, weight_scale, bias, bits, cap, ratio
        )
    else:
        y = _product(counts, scale, zero, salient, weight.codes, weight_scale, bias, bits, cap, ratio, launcher)
    return y.view(*code.counts.shape[:-1], y.shape[1])


def _product(
    counts: Tensor,
    scale: Tensor,
    zero: Tensor,
    salient: Tensor | None,
    codes: Tensor,
    weight_scale: Tensor,
    bias: Tensor | None,
    bits: int,
    cap: int,
    ratio: int,
    launcher: Launcher,
) -> Tensor:
    """Counts `[R, D]` up to `cap`, scale and zero point `[R, G]`, times codes `[O, D]`: `[R, O]` float32."""
    (rows, features), outputs, largest = counts.shape, codes.shape[0], 2**bits - 1
    counts, codes = counts.contiguous(), codes.to(torch.int8 if largest <= 127 else torch.int16).contiguous()
    members = [None] if salient is None else [~salient, salient]
    y = torch.empty(rows, outputs, dtype=torch.float32, device=counts.device)
    if not y.numel():
        return y
    defines = (
        ("DK_X", X_CODES[y.dtype]),
        ("DK_Q", Q_CODES[counts.dtype]),
        ("DK_W", 1 if codes.dtype == torch.int8 else 2),
        ("DK_WIDE", int(cap * largest * features >= 2**31)),
    )
    tensors = (
        counts,
        codes,
        None if salient is None else salient.contiguous(),
        torch.stack([_row_sums(codes, mask) for mask in members], -1),
        scale.contiguous(),
        zero.contiguous(),
        weight_scale.float().contiguous(),
        None if bias is None else bias.to(torch.float32).contiguous(),
        y,
    )
    grid = (min(ceil_div(outputs, TILE), MAX_BLOCKS), min(ceil_div(rows, TILE), MAX_BLOCKS))
    arguments = (*tensors, rows, features, outputs, ratio)
    launcher.launch(Launch("spike_linear", "spike_product", defines, grid, TILE * TILE, arguments))
    return y


@torch.library.custom_op(
    "darkit::spike_product",
    mutates_args=(),
    device_types="cuda",
    schema="(Tensor counts, Tensor scale, Tensor zero, Tensor? salient, Tensor codes, Tensor weight_scale, "
    "Tensor? bias, int bits, int cap, int ratio) -> Tensor",
)
def _product_op(*arguments: Any) -> Tensor:
    counts, scale, zero, salient, codes, weight_scale, bias, bits, cap, ratio = arguments
    return _product(counts, scale, zero, salient, codes, weight_scale, bias, bits, cap, ratio, CupyLauncher())


@_product_op.register_fake
def _(counts: Any, scale: Any, zero: Any, salient: Any, codes: Any, *_: Any) -> Tensor:
    return counts.new_empty((counts.shape[0], codes.shape[0]), dtype=torch.float32)


def _row_sums(codes: Tensor, members: Tensor | None) -> Tensor:
    """Sum of the weight codes of each output over the features of one group, `[O]` int32."""
    chosen = codes if members is None else codes * members
    return chosen.sum(-1, dtype=torch.int32)
