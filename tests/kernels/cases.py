"""Tokens and neurons with what goes wrong in them, for all tests of kernels."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st

from darkit_nb.ops._gif_blocked import GifLaw

LAWS = [
    GifLaw(16, 2),
    GifLaw(2, 4, "radix"),
    GifLaw(16, 3, "radix"),
    GifLaw(16, 2, "paper"),
    GifLaw(16, 2, "rate", "own"),
    GifLaw(2, 1, signed=True),
    GifLaw(16, 2, "rate", "own", signed=True),
    GifLaw(256, 200, signed=True),
]
FEATURES = st.sampled_from([1, 2, 31, 63, 129, 257])


def tokens(rows: int, features: int, seed: int) -> torch.Tensor:
    """Tokens with what goes wrong: ties at half levels, zeros, one sign only, NaN, infinities, tiny and huge values."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, features, generator=random)
    specials = [0.0, math.nan, math.inf, -math.inf, 1e-40, 3e38]
    for row in range(rows):
        match int(torch.randint(0, 8, (), generator=random)):
            case 0:
                x[row] = x[row].abs()
            case 1:
                x[row] = -x[row].abs()
            case 2:
                x[row] = (x[row] * 4).round() / 2
            case 3:
                x[row] *= specials[seed % len(specials)]
            case 4:
                x[row, seed % features] = specials[seed % len(specials)]
    return x


def mask(features: int, seed: int) -> torch.Tensor | None:
    share = (None, 0.0, 0.2, 1.0)[seed % 4]
    return None if share is None else torch.rand(features, generator=torch.Generator().manual_seed(seed)) < share


def same(got: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True)
