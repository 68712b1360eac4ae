"""Host side of `kernels/gif.cu`, `gif_backward.cu` and `gif_clip.cu`: outputs, arguments, and autograd around them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from darkit_nb.functional.packed import packed_bytes
from darkit_nb.functional.spike_code import count_dtype
from darkit_nb.ops._gif_blocked import GifLaw
from darkit_nb.ops._launch import MAX_BLOCKS, Q_CODES, X_CODES, Launch, Launcher, aligned, ceil_div

COUNTS, VALUES, CLAMPED, CENTRED = 1, 2, 4, 8
"""What a forward writes, added up in DK_EMIT; CENTRED makes counts those minus the zero point."""

PACKED = 4
"""DK_Q of two 4-bit counts in a byte."""

TEAMS = (8, 32, 128, 256, 512, 1024)
BLOCK = 128
"""Threads of a block, but for larger teams."""

HELD_BYTES = 64
"""What a thread keeps of a token in registers, in bytes of float32."""

BACKWARD_TEAM = 512
"""Largest team of the backward: it keeps gradients too, and 1024 threads have 64 registers each."""


@dataclass(frozen=True)
class Shape:
    """How threads share a token.

    Attributes:
        vec: neighbouring features moved as one.
        aligned: whether they move in loads of 16 bytes.
        team: threads of one token.
        hold: packs a thread keeps in registers; 0 reads a long token again.
    """

    vec: int
    aligned: bool
    team: int
    hold: int

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return max(self.team, BLOCK)

    def defines(self) -> tuple[tuple[str, int], ...]:
        """As the kernels read them."""
        names = {"DK_VEC": self.vec, "DK_ALIGNED": int(self.aligned), "DK_TEAM": self.team, "DK_HOLD": self.hold}
        return (*names.items(), ("DK_THREADS", self.threads))

    def grid(self, rows: int) -> tuple[int, int]:
        """Blocks for so many tokens."""
        return min(ceil_div(rows * self.team, self.threads), MAX_BLOCKS), 1


def shape_of(
    features: int, x: Tensor, others: tuple[Tensor | None, ...], *, packed: bool = False, largest: int = TEAMS[-1]
) -> Shape:
    """The smallest team that holds a token in registers, by packs of 16 bytes where all rows begin at one."""
    wide = 16 // x.element_size()
    moves_whole = features % wide == 0 and aligned(x, *others)
    vec = wide if moves_whole else 2 if packed else 1
    hold = HELD_BYTES // (4 * vec) if not moves_whole else HELD_BYTES // 16
    team = next((team for team in TEAMS if team * hold * vec >= features and team <= largest), None)
    return Shape(vec, moves_whole, team or largest, hold if team else 0)


def _settings(law: GifLaw, salient: Tensor | None) -> tuple[tuple[tuple[str, int], ...], tuple[float, float, float]]:
    """Definitions and numbers that both directions take."""
    kind = 0 if salient is None else 2 if law.ranges == "own" else 1
    ratio = float(law.ratio or 0) if kind else 0.0
    defines = (("DK_SALIENT", kind), ("DK_SIGNED", int(law.signed)))
    return defines, (float(law.cap_lo), float(law.cap_hi), ratio)


def _forward(
    x: Tensor,
    law: GifLaw,
    salient: Tensor | None,
    launcher: Launcher,
    counts: Tensor | None,
    values: Tensor | None,
    clamped: Tensor | None,
    *,
    packed: bool = False,
    centred: bool = False,
) -> tuple[Tensor, Tensor]:
    (rows, features), groups = x.shape, 1 if salient is None else 2
    scale = torch.empty(rows, groups, dtype=torch.float32, device=x.device)
    zero = torch.empty(rows, groups, dtype=torch.int32, device=x.device)
    shape = shape_of(features, x, (salient, values), packed=packed)
    kind, numbers = _settings(law, salient)
    wanted = zip((COUNTS, VALUES, CLAMPED), (counts, values, clamped), strict=True)
    emit = sum(bit for bit, tensor in wanted if tensor is not None) + CENTRED * centred
    defines = (
        ("DK_X", X_CODES[x.dtype]),
        ("DK_Q", PACKED if packed else 0 if counts is None else Q_CODES[counts.dtype]),
        *kind,
        ("DK_EMIT", emit),
        *shape.defines(),
    )
    arguments = (x, salient, counts, values, clamped, scale, zero, rows, features, *numbers)
    launcher.launch(Launch("gif", "gif_forward", defines, shape.grid(rows), shape.threads, arguments))
    return scale, zero


def _bits(x: Tensor) -> Tensor:
    return torch.empty(x.shape[0], packed_bytes(x.shape[1], 1), dtype=torch.uint8, device=x.device)


def encode(
    x: Tensor,
    law: GifLaw,
    salient: Tensor | None,
    launcher: Launcher,
    *,
    packed: bool = False,
    mask: bool = True,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Counts, scale, zero point and mask of clamped codes of `x` `[R, D]`; see `ops.gif.encode_rows`.

    Args:
        x: tokens.
        law: settings of the neuron.
        salient: `[D]` boolean or None.
        launcher: starts the kernel.
        packed: counts as `pack_codes(counts, 4)` packs them, `[R, ⌈D/2⌉]` uint8; they must not exceed 15.
        mask: whether clamped codes are wanted.

    Returns:
        Counts, scale, zero, and clamped codes one bit each as `pack_codes(clamped, 1)` packs them, or None.
    """
    x = x.contiguous()
    if packed:
        counts = torch.empty(x.shape[0], packed_bytes(x.shape[1], 4), dtype=torch.uint8, device=x.device)
    else:
        counts = torch.empty(x.shape, dtype=law.dtype(salient is not None), device=x.device)
    clamped = _bits(x) if mask else None
    scale, zero = _forward(x, law, salient, launcher, counts, None, clamped, packed=packed)
    return counts, scale, zero, clamped


def encode_centred(
    x: Tensor, law: GifLaw, salient: Tensor | None, launcher: Launcher
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Values in the dtype of `x`, centred counts, scale and clamped bits in one launch: `ops.gif.encode_centred`."""
    x = x.contiguous()
    cap = law.cap_hi if salient is not None else law.cap_lo
    centred = torch.empty(x.shape, dtype=count_dtype(cap, signed=True), device=x.device)
    values, clamped = torch.empty_like(x), _bits(x)
    scale, _ = _forward(x, law, salient, launcher, centred, values, clamped, centred=True)
    return values, centred, scale, clamped


def clip(grad: Tensor, clamped: Tensor, launcher: Launcher) -> Tensor:
    """`grad` `[R, D]`, 0 where the bit of a feature is set in `clamped` `[R, ⌈D/8⌉]`."""
    grad = grad.contiguous()
    (rows, features), out = grad.shape, torch.empty_like(grad)
    shape = shape_of(features, grad, (out,))
    defines = (("DK_X", X_CODES[grad.dtype]), *shape.defines()[:2], ("DK_THREADS", BLOCK))
    grid = (ceil_div(features, BLOCK * shape.vec), min(rows, MAX_BLOCKS))
    launcher.launch(Launch("gif_clip", "gif_clip", defines, grid, BLOCK, (grad, clamped, out, rows, features)))
    return out


def quantise(
    x: Tensor, law: GifLaw, salient: Tensor | None, launcher: Launcher, *, mask: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Values in the dtype of `x` `[R, D]`, scale, zero point, and the bits of clamped codes if `mask` wants them."""
    x = x.contiguous()
    values, clamped = torch.empty_like(x), _bits(x) if mask else None
    return values, *_forward(x, law, salient, launcher, None, values, clamped), clamped


def differentiate(
    grad: Tensor, x: Tensor, scale: Tensor, zero: Tensor, law: GifLaw, salient: Tensor | None, launcher: Launcher
) -> Tensor:
    """Gradient of tokens `x` `[R, D]`, through their range, from that of their values."""
    x, grad = x.contiguous(), grad.to(x.dtype).contiguous()
    (rows, features), out = x.shape, torch.empty_like(x)
    shape = shape_of(features, x, (grad, salient, out), largest=BACKWARD_TEAM)
    kind, numbers = _settings(law, salient)
    defines = (("DK_X", X_CODES[x.dtype]), *kind, *shape.defines())
    arguments = (grad, x, salient, scale, zero, out, rows, features, *numbers)
    launcher.launch(Launch("gif_backward", "gif_backward", defines, shape.grid(rows), shape.threads, arguments))
    return out


class QuantiseKernel(torch.autograd.Function):
    """Quantise `x` `[R, D]` and read the value back.

    Saves one bit a feature while the range is held constant, else `x` and two numbers a token and group.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, law: GifLaw, salient: Tensor | None, follow_range: bool, launcher: Launcher
    ) -> Tensor:
        x = x.contiguous()
        values, scale, zero, clamped = quantise(x, law, salient, launcher, mask=not follow_range)
        ctx.save_for_backward(*((x, salient, scale, zero) if follow_range else (clamped,)))
        ctx.law, ctx.follow_range, ctx.launcher = law, follow_range, launcher
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if not ctx.follow_range:
            (clamped,) = ctx.saved_tensors
            return clip(grad, clamped, ctx.launcher), None, None, None, None
        x, salient, scale, zero = ctx.saved_tensors
        return differentiate(grad, x, scale, zero, ctx.law, salient, ctx.launcher), None, None, None, None
