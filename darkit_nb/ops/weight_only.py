"""Float tokens times packed weights where there are few of them: decoding, bound by the bytes of the weight."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from darkit_nb.functional.spike_linear import parts_of
from darkit_nb.functional.weight import QuantisedWeight, WeightCode
from darkit_nb.ops._gif_blocked import GifLaw
from darkit_nb.ops._product_native import NativeFloats
from darkit_nb.ops.backend import resolve_backend
from darkit_nb.ops.weight_layout import WeightLayout

FEW_ROWS = 8
"""Up to so many tokens codes are met as they are stored; for more it pays to compute their values first."""


class FloatProducts(Protocol):
    """Products of a few float tokens with one packed weight."""

    @property
    def nbytes(self) -> int:
        """Memory the codes take."""
        ...

    def linear(self, x: Tensor) -> Tensor:
        """`x · Wᵀ + b` of tokens `[R, D]`, `[R, O]` in the dtype of `x`."""
        ...


@torch.no_grad()
def prepare_float_products(weight: WeightCode | QuantisedWeight, bias: Tensor | None) -> FloatProducts | None:
    """Lay a weight out for a few float tokens at a time; None where only PyTorch can multiply it.

    Numerics: agrees with the product of dequantised weights to the rounding of float32 sums.
    """
    codes = parts_of(weight)[0][1].codes
    if resolve_backend("auto", codes.device).name != "native":
        return None
    return NativeFloats(WeightLayout(weight, bias, GifLaw(2), None))
