"""Mixing of features by the Kronecker product of two matrices, fast: the law of `functional/kronecker.py`.

Without gradients the C++ library mixes tokens in the cache (`kernels/cpu/rotation.cpp`); else it is PyTorch's products.
"""

from __future__ import annotations

from array import array

import torch
from torch import Tensor

from darkit_nb.functional import kronecker as reference
from darkit_nb.ops.rotation import by_library, rotate_rows


def kronecker_mix(x: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """`functional.kronecker.kronecker_mix` on the fastest backend.

    Args:
        x: `[*B, a·b]`.
        left: `[a, a]`, multiplied from the left.
        right: `[b, b]`, from the right.

    Returns:
        `[*B, a·b]` in the dtype of `x`.

    Numerics: inputs of half precision are mixed in float32 and rounded once; agrees with the definition to the rounding
        of float32 sums.
    """
    tensors = (x, left, right)
    learns = torch.is_grad_enabled() and any(part.requires_grad for part in tensors)
    alike = all(part.dtype == torch.float32 and part.is_cpu for part in (left, right))
    if learns or not alike or not by_library(x):
        dtype = torch.promote_types(x.dtype, torch.float32)
        return reference.kronecker_mix(x.to(dtype), left.to(dtype), right.to(dtype)).to(x.dtype)
    a, b = left.shape[0], right.shape[0]
    turned, straight = left.detach().t().contiguous(), right.detach().contiguous()
    steps = array("q", (0, 1, a, b, turned.data_ptr(), 0, a, b, 1, straight.data_ptr()))
    return rotate_rows(steps.buffer_info()[0], 2, x, max(a, b))
