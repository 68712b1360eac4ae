"""Float tokens times packed weights: codes are read as they are stored, and decoded where they are multiplied."""

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


class FloatProducts(Protocol):
    """Products of float tokens with one packed weight."""

    @property
    def nbytes(self) -> int:
        """Memory the codes take."""
        ...

    def linear(self, x: Tensor) -> Tensor:
        """`x · Wᵀ + b` of tokens `[*B, D]`, `[*B, O]` in the dtype of `x`."""
        ...


@torch.no_grad()
def prepare_float_products(weight: WeightCode | QuantisedWeight, bias: Tensor | None) -> FloatProducts | None:
    """Lay a weight out for products with float tokens; None where only PyTorch can multiply it.

    Numerics: agrees with the product of dequantised weights to the rounding of float32 sums.
    """
    codes = parts_of(weight)[0][1].codes
    if resolve_backend("auto", codes.device).name != "native":
        return None
    return NativeFloats(WeightLayout(weight, bias, GifLaw(2), None))
