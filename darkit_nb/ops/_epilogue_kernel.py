"""Host side of `kernels/spike_epilogue.cu`: what integer sums become, in one pass over them."""

from __future__ import annotations

import torch
from torch import Tensor

from darkit_nb.functional.spike_code import SpikeCode
from darkit_nb.ops._launch import MAX_BLOCKS, X_CODES, Launch, Launcher, aligned, ceil_div
from darkit_nb.ops.weight_layout import WeightLayout

THREADS = 128
ROWS = 8
"""Rows of a thread: what belongs to its outputs is read once for all of them."""


def scaled_sums(
    sums: Tensor, shift: int, code: SpikeCode, layout: WeightLayout, launcher: Launcher, dtype: torch.dtype
) -> Tensor:
    """Outputs `[R, O]` in `dtype` from the sums of a layout's only segment.

    Args:
        sums: `[R, O]` int32, Σ (q − shift)·c over all features; outputs lie together, rows may be further apart.
        shift: what was taken off every count to fit its byte.
        code: the spikes, for their scales and zero points.
        layout: of the weight; without the zero points sums fit 32 bits, and with them.
        launcher: starts the kernel.
        dtype: of the outputs.

    Numerics: bit-equal to `functional.spike_linear.spike_product`, then rounded to `dtype`.
    """
    (rows, outputs), (segment,) = sums.shape, layout.segments
    y = torch.empty(rows, outputs, dtype=dtype, device=sums.device)
    if not y.numel():
        return y
    groups = 1 if layout.salient is None else 2
    scale, zero = (part.reshape(rows, groups).contiguous() for part in (code.scale, code.zero_point))
    fixed = (segment.low, segment.high, segment.weight_scale.contiguous(), layout.bias)
    vec, stride = 16 // y.element_size(), sums.stride(0)
    whole = outputs % vec == 0 and stride % 4 == 0 and aligned(sums, y, *fixed)
    vec = vec if whole else 1
    defines = (("DK_X", X_CODES[dtype]), ("DK_VEC", vec), ("DK_ALIGNED", int(whole)), ("DK_THREADS", THREADS))
    numbers = (rows, outputs, stride, groups, segment.scale, layout.ratio or 1, shift)
    grid = ceil_div(outputs, THREADS * vec), min(ceil_div(rows, ROWS), MAX_BLOCKS)
    arguments = (sums, scale, zero, *fixed, y, *numbers)
    launcher.launch(Launch("spike_epilogue", "spike_epilogue", defines, grid, THREADS, arguments))
    return y
