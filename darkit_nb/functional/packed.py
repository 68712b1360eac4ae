"""Small unsigned integers packed into bytes, in plain PyTorch: how low-bit weights and codes of a cache are stored.

A row is one stream of bits, low bits first: value j takes the bits j·bits … (j+1)·bits − 1, bit 0 being the lowest of
the first byte. So 4 bits put values 2k and 2k+1 into byte k, the first one low. A row ends at a whole byte, filled up
with zeros. Eight values fill `bits` bytes exactly, whatever `bits` is.
"""

from __future__ import annotations

import torch
from jaxtyping import Integer, UInt8
from torch import Tensor
from torch.nn.functional import pad

from darkit_nb.errors import ShapeError


def packed_bytes(features: int, bits: int) -> int:
    """Bytes of one row of `features` values."""
    return -(-features * bits // 8)


@torch.no_grad()
def pack_codes(codes: Integer[Tensor, "*B D"], bits: int) -> UInt8[Tensor, "*B P"]:
    """Pack `codes` (0 … 2^bits − 1) along the last axis.

    Args:
        codes: `[*B, D]` integers of any dtype.
        bits: 1 … 8.

    Returns:
        `[*B, P]` uint8, P = ⌈D·bits/8⌉.

    Raises:
        ShapeError: `bits` is none of 1 … 8, or a code does not fit.
    """
    _check_bits(bits)
    if codes.numel() and not codes.is_meta:
        low, high = (int(end) for end in codes.aminmax())
        if low < 0 or high >= 2**bits:
            raise ShapeError(
                "These codes do not fit their bits.",
                expected=f"0 … {2**bits - 1}, which {bits} bits hold",
                received=f"{low} … {high}",
                cause="centred codes were passed; their zero point has to be added first",
            )
    features = codes.shape[-1]
    eights = pad(codes.to(torch.uint8), (0, -features % 8)).unflatten(-1, (-1, 8))
    words = torch.zeros(eights.shape[:-1], dtype=torch.int64, device=codes.device)
    for place in range(8):
        words |= eights[..., place].to(torch.int64) << bits * place
    parts = torch.stack([words >> 8 * byte & 255 for byte in range(bits)], -1)
    return parts.to(torch.uint8).flatten(-2)[..., : packed_bytes(features, bits)].contiguous()


@torch.no_grad()
def unpack_codes(packed: UInt8[Tensor, "*B P"], bits: int, features: int) -> UInt8[Tensor, "*B D"]:
    """What `pack_codes` packed, `[*B, D]` uint8 with D = `features`.

    Raises:
        ShapeError: `bits` is none of 1 … 8, or a row has not the bytes for `features` codes.
    """
    _check_bits(bits)
    if packed.shape[-1] != packed_bytes(features, bits):
        raise ShapeError(
            "These bytes do not hold as many codes.",
            expected=f"{packed_bytes(features, bits)} bytes a row, for {features} codes of {bits} bits",
            received=f"{packed.shape[-1]} bytes a row",
        )
    mask = 2**bits - 1
    if 8 % bits == 0:  # no value lies in two bytes
        values = torch.stack([packed >> place & mask for place in range(0, 8, bits)], -1)
        return values.flatten(-2)[..., :features].contiguous()
    bytes_ = pad(packed, (0, -packed.shape[-1] % bits)).unflatten(-1, (-1, bits))
    words = torch.zeros(bytes_.shape[:-1], dtype=torch.int64, device=packed.device)
    for place in range(bits):
        words |= bytes_[..., place].to(torch.int64) << 8 * place
    values = torch.stack([(words >> bits * place & mask).to(torch.uint8) for place in range(8)], -1)
    return values.flatten(-2)[..., :features].contiguous()


def _check_bits(bits: int) -> None:
    if not 1 <= bits <= 8:
        raise ShapeError("Codes are packed with 1 to 8 bits.", expected="1 ≤ bits ≤ 8", received=f"bits={bits}")
