"""Host side of `kernels/spike_linear.cu`: outputs and arguments of the integer product."""

from __future__ import annotations

import torch
from torch import Tensor

from darkit_nb.functional.spike_code import SpikeCode
from darkit_nb.functional.weight import WeightCode
from darkit_nb.ops._launch import MAX_BLOCKS, Q_CODES, X_CODES, Launch, Launcher, ceil_div

TILE = 16


def product_kernel(code: SpikeCode, weight: WeightCode, bias: Tensor | None, launcher: Launcher) -> Tensor:
    """The exact product of any codes by integer arithmetic, `[*B, L, O]` float32; see `ops.spike_product`."""
    features, outputs = weight.codes.shape[1], weight.codes.shape[0]
    counts = code.counts.reshape(-1, features).contiguous()
    salient = None if code.salient is None else code.salient.reshape(-1).expand(features).contiguous()
    largest = 2**weight.bits - 1
    codes = weight.codes.to(torch.int8 if largest <= 127 else torch.int16).contiguous()
    members = [None] if salient is None else [~salient, salient]
    sums = torch.stack([_row_sums(codes, mask) for mask in members], -1)
    rows, groups = counts.shape[0], len(members)
    y = torch.empty(rows, outputs, device=counts.device)
    defines = (
        ("DK_X", X_CODES[y.dtype]),
        ("DK_Q", Q_CODES[counts.dtype]),
        ("DK_W", 1 if codes.dtype == torch.int8 else 2),
        ("DK_WIDE", int(code.cap * largest * features >= 2**31)),
    )
    tensors = (
        counts,
        codes,
        salient,
        sums,
        code.scale.reshape(-1, groups).contiguous(),
        code.zero_point.reshape(-1, groups).contiguous(),
        weight.scale.reshape(-1).contiguous(),
        None if bias is None else bias.to(torch.float32).contiguous(),
        y,
    )
    grid = (min(ceil_div(outputs, TILE), MAX_BLOCKS), min(ceil_div(rows, TILE), MAX_BLOCKS))
    arguments = (*tensors, rows, features, outputs, code.scale_ratio or 0)
    launcher.launch(Launch("spike_linear", "spike_product", defines, grid, TILE * TILE, arguments))
    return y.view(*code.counts.shape[:-1], outputs)


def _row_sums(codes: Tensor, members: Tensor | None) -> Tensor:
    """Sum of the weight codes of each output over the features of one group, `[O]` int32."""
    chosen = codes if members is None else codes * members
    return chosen.sum(-1, dtype=torch.int32)
